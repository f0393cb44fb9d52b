{{/* The pods' parts. Two DaemonSets share them: the exporter, and the one that cleans up after it. */}}

{{- define "image" -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default .appVersion }}{{ end }}
{{- end }}

{{- define "devicetree-exporter.image" -}}
{{ include "image" (merge (dict "appVersion" .Chart.AppVersion) .Values.image) }}
{{- end }}

{{/* Flags that write nothing. */}}
{{- define "devicetree-exporter.args" -}}
- --path.sysfs=/host/sys
- --labels.prefix=$(PREFIX)
{{- end }}

{{/* Flags that say what is written, and all others. */}}
{{- define "devicetree-exporter.writing-args" -}}
{{- if eq .Values.labels.via "kubernetes" }}
- --labels.kubernetes
{{- if .Values.labels.watch }}
- --kubernetes.watch
{{- end }}
{{- else if eq .Values.labels.via "nfd" }}
- --nfd.feature-file=/etc/kubernetes/node-feature-discovery/features.d/devicetree-features
{{- end }}
{{- range .Values.labels.nodes }}
- {{ printf "--labels.nodes=%s" . | quote }}
{{- end }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{/* A container, less its name, args, ports and probes. */}}
{{- define "devicetree-exporter.container" -}}
image: {{ include "devicetree-exporter.image" . }}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
env:
- name: PREFIX
  valueFrom: {configMapKeyRef: {name: devicetree-exporter, key: prefix}}
{{- if eq .Values.labels.via "kubernetes" }}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
# One by one: a read-only mount of all of /sys would leave what is mounted below it
# writable, and a container sees /sys/firmware masked at its own place.
volumeMounts:
- {name: firmware, mountPath: /host/sys/firmware, readOnly: true}
- {name: devices, mountPath: /host/sys/devices, readOnly: true}
- {name: class, mountPath: /host/sys/class, readOnly: true}
- {name: bus, mountPath: /host/sys/bus, readOnly: true}
{{- if eq .Values.labels.via "nfd" }}
- {name: features, mountPath: /etc/kubernetes/node-feature-discovery/features.d}
{{- end }}
{{- end }}

{{/* A DaemonSet's spec. With cleanup, a dict's key, of the one that cleans up. */}}
{{- define "devicetree-exporter.daemonset-spec" -}}
{{- $ := .root -}}
selector:
  matchLabels:
    app.kubernetes.io/name: devicetree-exporter
updateStrategy:
  rollingUpdate:
    # Never two of them on a node, which would both write.
    maxSurge: 0
    maxUnavailable: 10%
template:
  metadata:
    labels:
      app.kubernetes.io/name: devicetree-exporter
      {{- if eq $.Values.labels.via "kubernetes" }}
      app.kubernetes.io/component: labels
      {{- end }}
    {{- with $.Values.podAnnotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    serviceAccountName: devicetree-exporter
    automountServiceAccountToken: {{ eq $.Values.labels.via "kubernetes" }}
    enableServiceLinks: false
    {{- with $.Values.image.pullSecrets }}
    imagePullSecrets:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $.Values.priorityClassName }}
    priorityClassName: {{ . }}
    {{- end }}
    {{- with $.Values.nodeSelector }}
    nodeSelector:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $.Values.tolerations }}
    tolerations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- if .cleanup }}
    # Not while one that writes is still on the node.
    affinity:
      podAntiAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
        - topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              app.kubernetes.io/name: devicetree-exporter
    {{- end }}
    securityContext:
      {{- if eq $.Values.labels.via "nfd" }}
      # NFD's folder on the host belongs to root; no capability goes with it.
      runAsNonRoot: false
      runAsUser: 0
      runAsGroup: 0
      {{- else }}
      runAsNonRoot: true
      runAsUser: 65534
      runAsGroup: 65534
      {{- end }}
      seccompProfile:
        type: RuntimeDefault
    {{- if .cleanup }}
    # What wrote, with --cleanup besides, runs first and to its end.
    initContainers:
    - name: cleanup
      args:
      {{- include "devicetree-exporter.args" $ | nindent 6 }}
      {{- include "devicetree-exporter.writing-args" $ | trim | nindent 6 }}
      - --cleanup
      {{- include "devicetree-exporter.container" $ | nindent 6 }}
    {{- end }}
    containers:
    - name: devicetree-exporter
      args:
      {{- include "devicetree-exporter.args" $ | nindent 6 }}
      {{- if not .cleanup }}
      {{- with include "devicetree-exporter.writing-args" $ | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- end }}
      ports:
      - name: metrics
        containerPort: 9931
      readinessProbe:
        httpGet:
          path: /-/ready
          port: metrics
      livenessProbe:
        httpGet:
          path: /-/healthy
          port: metrics
      {{- include "devicetree-exporter.container" $ | nindent 6 }}
    volumes:
    - {name: firmware, hostPath: {path: /sys/firmware, type: Directory}}
    - {name: devices, hostPath: {path: /sys/devices, type: Directory}}
    - {name: class, hostPath: {path: /sys/class, type: Directory}}
    - {name: bus, hostPath: {path: /sys/bus, type: Directory}}
    {{- if eq $.Values.labels.via "nfd" }}
    - name: features
      hostPath:
        path: /etc/kubernetes/node-feature-discovery/features.d
        type: DirectoryOrCreate
    {{- end }}
{{- end }}
