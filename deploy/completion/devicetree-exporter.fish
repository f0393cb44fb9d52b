# Fish completion of devicetree-exporter. It asks the program for its flags
# (--help), so that the two cannot disagree.
complete -c devicetree-exporter -f
set -l lines (devicetree-exporter --help 2>/dev/null)
for at in (seq (count $lines))
    set -l found (string match -r '^ +(-[a-z],|)--([a-z_.-]+) *(.*)$' -- $lines[$at])
    or continue
    set -l flag -l $found[3]
    test -z "$found[2]"; or set -a flag -s (string trim -c -, -- $found[2])
    set -l text $found[4]
    # "FILE  text", or "STATE=enabled" and the text on the next line.
    set -l value (string match -r '^([A-Z][A-Z:=]+|\[HOST\]:PORT|[a-z0-9]+\|[a-z0-9|]+)(?:=\S*)?(?: \.\.\.)?(?: +|$)(.*)$' -- $text)
    if set -q value[1]
        set -a flag -x
        set text $value[3]
        switch $value[2]
            case FILE PATH
                set flag $flag[1..-2] -r -F
            case DIR
                set -a flag -a '(__fish_complete_directories)'
            case STATE
                set -a flag -a 'described enabled bound ready'
            case LEVEL
                set -a flag -a 'debug info warn error'
            case '*|*'
                set -a flag -a (string replace -a '|' ' ' $value[2])
        end
    end
    test -n "$text"; or set text (string trim -- $lines[(math $at + 1)])
    complete -c devicetree-exporter $flag -d $text
end
