# Bash completion of devicetree-exporter. It asks the program for its flags
# (--help), so that the two cannot disagree.

# _devicetree_exporter COMMAND CURRENT_WORD PREVIOUS_WORD
_devicetree_exporter() {
  local current=$2 flag=$3 help line values
  # Bash takes = for a word of its own: --log.level=debug.
  [[ $current != = ]] || current=
  [[ $flag != = ]] || flag=${COMP_WORDS[COMP_CWORD - 2]}
  help=$("$1" --help 2>/dev/null) || return

  # What the flag takes: "FILE", "logfmt|json"; empty for none.
  values=
  while read -r line; do
    if [[ $line =~ ^(-[a-z],)?(--[^ ]+)\ ([^ ]+) && $flag == "${BASH_REMATCH[2]}" ]]; then
      values=${BASH_REMATCH[3]%%=*}
    fi
  done <<<"$help"
  case $values in
    STATE) values='described|enabled|bound|ready' ;;
    LEVEL) values='debug|info|warn|error' ;;
  esac

  case $values in
    FILE | PATH | DIR)
      compopt -o filenames
      if [[ $values == DIR ]]; then
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
      else
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
      fi ;;
    *'|'*) mapfile -t COMPREPLY < <(compgen -W "${values//|/ }" -- "$current") ;;
    [A-Z][A-Z]*) COMPREPLY=() ;;
    *)
      values=$(sed -nE 's/^ +(-[a-z],)?(--[a-z_.-]+).*/\2/p' <<<"$help")
      mapfile -t COMPREPLY < <(compgen -W "$values" -- "$current") ;;
  esac
}
complete -F _devicetree_exporter devicetree-exporter
