{{/* The name of the application. */}}
{{- define "duiwu.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 48 | trimSuffix "-" -}}
{{- end }}

{{/* The name of the release's objects: at most 48 characters, so that suffixes fit in 63. */}}
{{- define "duiwu.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "duiwu.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What never changes while a release lives; selectors hold this and nothing else. */}}
{{- define "duiwu.selector" -}}
app.kubernetes.io/name: {{ include "duiwu.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "duiwu.labels" -}}
{{ include "duiwu.selector" . }}
app.kubernetes.io/version: {{ default .Chart.AppVersion .Values.image.tag | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/part-of: duiwu
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
Labels of a pod; takes (list root component). Without the chart's version: a new
chart that changes nothing in the pods starts no pod again.
*/}}
{{- define "duiwu.podLabels" -}}
{{- $root := first . -}}
{{ include "duiwu.selector" $root }}
app.kubernetes.io/component: {{ last . }}
app.kubernetes.io/part-of: duiwu
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* annotations: of an object; takes (list root more...), where more are dicts that go before commonAnnotations. */}}
{{- define "duiwu.annotations" -}}
{{- $all := dict -}}
{{- range rest . }}{{ $all = mergeOverwrite $all (. | default dict) }}{{ end -}}
{{- $all = merge $all (first .).Values.commonAnnotations -}}
{{- with $all }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The image, by digest where there is one. */}}
{{- define "duiwu.image" -}}
{{- $registry := default .Values.image.registry .Values.global.imageRegistry -}}
{{- $name := ternary (printf "%s/%s" $registry .Values.image.repository) .Values.image.repository (ne $registry "") -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $name .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end }}

{{- define "duiwu.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "duiwu.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{/* What all pods of the release have in common. */}}
{{- define "duiwu.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with concat .Values.global.imagePullSecrets .Values.image.pullSecrets | uniq }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.worker.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.worker.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What all containers have in common. There is no command: where the binary lies is the image's business. */}}
{{- define "duiwu.container" -}}
image: {{ include "duiwu.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.containerSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The database, for every command that asks it. */}}
{{- define "duiwu.database.env" -}}
- name: DUIWU_CLICKHOUSE
  valueFrom:
    secretKeyRef:
      name: {{ .Values.clickhouse.existingSecret }}
      key: {{ .Values.clickhouse.dsnKey }}
{{- if include "duiwu.feeds.own" . }}
# Not an argument: a command run inside the pod reads the same feeds.
- name: DUIWU_FEEDS
  value: /etc/duiwu/feeds
{{- end }}
{{- if .Values.clickhouse.ca.existingSecret }}
# Beside the image's own list of authorities.
- name: SSL_CERT_DIR
  value: /etc/ssl/certs:/etc/duiwu/clickhouse-ca
{{- end }}
{{- end }}

{{- define "duiwu.database.mounts" -}}
{{- if .Values.clickhouse.ca.existingSecret }}
- name: clickhouse-ca
  mountPath: /etc/duiwu/clickhouse-ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "duiwu.database.volumes" -}}
{{- if .Values.clickhouse.ca.existingSecret }}
- name: clickhouse-ca
  secret:
    secretName: {{ .Values.clickhouse.ca.existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .Values.clickhouse.ca.key }}
        path: ca.crt
{{- end }}
{{- end }}

{{/* Feed files of one's own. */}}
{{- define "duiwu.feeds.own" -}}
{{- if or .Values.feeds.files .Values.feeds.volume }}true{{ end -}}
{{- end }}

{{/* A ConfigMap's key holds no slash. */}}
{{- define "duiwu.feeds.data" -}}
{{- range $path, $text := .Values.feeds.files }}
{{ $path | replace "/" "__" }}: {{ $text | toJson }}
{{- end }}
{{- end }}

{{- define "duiwu.feeds.mounts" -}}
{{- if include "duiwu.feeds.own" . }}
- name: feeds
  mountPath: /etc/duiwu/feeds
  readOnly: true
{{- end }}
{{- end }}

{{/* Takes (list root name-of-the-configmap). */}}
{{- define "duiwu.feeds.volumes" -}}
{{- $root := first . -}}
{{- if $root.Values.feeds.files }}
- name: feeds
  configMap:
    name: {{ last . }}
    defaultMode: 0444
    items:
      {{- range $path, $_ := $root.Values.feeds.files }}
      - key: {{ $path | replace "/" "__" }}
        path: {{ $path }}
      {{- end }}
{{- else if $root.Values.feeds.volume }}
- name: feeds
  {{- toYaml $root.Values.feeds.volume | nindent 2 }}
{{- end }}
{{- end }}

{{- define "duiwu.feeds.check" -}}
{{- if include "duiwu.feeds.own" . }}
initContainers:
  - name: check-feeds
    {{- include "duiwu.container" . | nindent 4 }}
    args: [check, /etc/duiwu/feeds]
    volumeMounts:
      {{- include "duiwu.feeds.mounts" . | trim | nindent 6 }}
    resources:
      {{- toYaml .Values.migrate.resources | nindent 6 }}
{{- end }}
{{- end }}

{{- define "duiwu.kafka.tls" -}}
{{- if or .Values.kafka.tls.enabled .Values.kafka.tls.ca.existingSecret .Values.kafka.tls.client.existingSecret }}true{{ end -}}
{{- end }}

{{/* Bytes of a Kubernetes quantity. */}}
{{- define "duiwu.bytes" -}}
{{- $s := toString . -}}
{{- $n := regexFind "^[0-9]+(\\.[0-9]+)?" $s | float64 -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 -}}
{{- $unit := regexReplaceAll "^[0-9.]+" $s "" -}}
{{- if not (hasKey $units $unit) }}{{ fail (printf "worker.resources.limits.memory is %s: write it with Mi or Gi" $s) }}{{ end -}}
{{- mulf $n (get $units $unit) | int64 -}}
{{- end }}

{{/* Does an optional object exist? Takes (list root auto|always|never group/version/Kind). */}}
{{- define "duiwu.wanted" -}}
{{- $root := index . 0 -}}
{{- if or (eq (index . 1) "always") (and (eq (index . 1) "auto") ($root.Capabilities.APIVersions.Has (index . 2))) }}true{{ end -}}
{{- end }}

{{- define "duiwu.keda" -}}
{{- $mode := .Values.autoscaling.mode -}}
{{- if and .Values.autoscaling.enabled (include "duiwu.wanted" (list . (get (dict "auto" "auto" "keda" "always" "hpa" "never") $mode) "keda.sh/v1alpha1/ScaledObject")) }}true{{ end -}}
{{- end }}
