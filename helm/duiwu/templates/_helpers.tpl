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
# A file is read again when the secret changes; a variable is not.
- name: DUIWU_CLICKHOUSE_FILE
  value: /etc/duiwu/clickhouse/dsn
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

{{- define "duiwu.database.mounts" }}
- name: clickhouse
  mountPath: /etc/duiwu/clickhouse
  readOnly: true
{{- if .Values.clickhouse.ca.existingSecret }}
- name: clickhouse-ca
  mountPath: /etc/duiwu/clickhouse-ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "duiwu.database.volumes" }}
{{ include "duiwu.secret" (list "clickhouse" .Values.clickhouse.existingSecret (dict "dsn" .Values.clickhouse.dsnKey)) }}
{{- if .Values.clickhouse.ca.existingSecret }}
{{ include "duiwu.secret" (list "clickhouse-ca" .Values.clickhouse.ca.existingSecret (dict "ca.crt" .Values.clickhouse.ca.key)) }}
{{- end }}
{{- end }}

{{- define "duiwu.tracing.env" -}}
{{- with .Values.tracing.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
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

{{- define "duiwu.mappings.mounts" -}}
{{- if .Values.feeds.mappings }}
- name: mappings
  mountPath: /etc/duiwu/mappings
  readOnly: true
{{- end }}
{{- end }}

{{/* Takes (list root name-of-the-configmap). */}}
{{- define "duiwu.mappings.volumes" -}}
{{- if (first .).Values.feeds.mappings }}
- name: mappings
  configMap:
    name: {{ last . }}
    defaultMode: 0444
{{- end }}
{{- end }}

{{/*
What comes before a pod's own work; takes (list root component). Mappings are the
gateway's business, and the migration's, so that a bad one fails an upgrade.
*/}}
{{- define "duiwu.init" -}}
{{- $root := first . -}}
{{- $migrate := and $root.Values.migrate.enabled (eq $root.Values.migrate.when "pod") (eq (last .) "worker") -}}
{{- $feeds := include "duiwu.feeds.own" $root -}}
{{- $mappings := and $root.Values.feeds.mappings (has (last .) (list "gateway" "migrate")) -}}
{{- if or $migrate $feeds $mappings }}
initContainers:
  {{- if or $feeds $mappings }}
  - name: check-feeds
    {{- include "duiwu.container" $root | nindent 4 }}
    args:
      - check
      {{- if $feeds }}
      - /etc/duiwu/feeds
      {{- end }}
      {{- if $mappings }}
      - --mappings=/etc/duiwu/mappings
      {{- end }}
    volumeMounts:
      {{- include "duiwu.feeds.mounts" $root | trim | nindent 6 }}
      {{- if $mappings }}
      {{- include "duiwu.mappings.mounts" $root | trim | nindent 6 }}
      {{- end }}
    resources:
      {{- toYaml $root.Values.migrate.resources | nindent 6 }}
  {{- end }}
  {{- if $migrate }}
  - name: migrate
    {{- include "duiwu.migrate.container" $root | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "duiwu.migrate.container" -}}
{{ include "duiwu.container" . }}
args:
  - migrate
  - --log-level={{ .Values.worker.logLevel }}
  - --durable={{ ternary "yes" "no" .Values.clickhouse.durable }}
  {{- with .Values.clickhouse.cluster }}
  - --cluster={{ . }}
  {{- end }}
env:
  {{- include "duiwu.database.env" . | nindent 2 }}
resources:
  {{- toYaml .Values.migrate.resources | nindent 2 }}
{{- with printf "%s%s" (include "duiwu.database.mounts" .) (include "duiwu.feeds.mounts" .) }}
volumeMounts:
  {{- . | replace "\n" "\n  " }}
{{- end }}
{{- end }}

{{/* A user's own certificate needs TLS too; the gateway's differs from the workers' in the certificate alone. */}}
{{- define "duiwu.kafka.tls" -}}
{{- if or .Values.kafka.tls.enabled .Values.kafka.tls.ca.existingSecret .Values.kafka.tls.client.existingSecret }}true{{ end -}}
{{- end }}

{{/*
How a component is known to Kafka: sasl and client, as YAML. The gateway may
have a user of its own; takes (list root component).
*/}}
{{- define "duiwu.kafka.as" -}}
{{- $root := first . -}}
{{- $sasl := dict "user" $root.Values.kafka.sasl.user "secret" $root.Values.kafka.sasl.existingSecret "key" $root.Values.kafka.sasl.passwordKey -}}
{{- $client := dict "secret" $root.Values.kafka.tls.client.existingSecret "cert" $root.Values.kafka.tls.client.certKey "key" $root.Values.kafka.tls.client.keyKey -}}
{{- if eq (last .) "gateway" -}}
{{- if $root.Values.gateway.kafka.sasl.existingSecret -}}
{{- $sasl = dict "user" $root.Values.gateway.kafka.sasl.user "secret" $root.Values.gateway.kafka.sasl.existingSecret "key" $root.Values.gateway.kafka.sasl.passwordKey -}}
{{- end -}}
{{- if $root.Values.gateway.kafka.client.existingSecret -}}
{{- $client = dict "secret" $root.Values.gateway.kafka.client.existingSecret "cert" $root.Values.gateway.kafka.client.certKey "key" $root.Values.gateway.kafka.client.keyKey -}}
{{- end -}}
{{- end -}}
{{- if $root.Values.kafka.sasl.mechanism }}
sasl: {{ $sasl | toJson }}
{{- end }}
{{- if $client.secret }}
client: {{ $client | toJson }}
{{- end }}
{{- end }}

{{- define "duiwu.kafka.args" -}}
{{- $root := first . -}}
{{- $as := include "duiwu.kafka.as" . | fromYaml -}}
{{- $ca := $root.Values.kafka.tls.ca.existingSecret -}}
- --kafka={{ join "," $root.Values.kafka.brokers }}
{{- if or (include "duiwu.kafka.tls" $root) $as.client }}
- --kafka-tls
{{- else }}
- --kafka-tls=false
{{- end }}
{{- if $ca }}
- --kafka-ca=/etc/duiwu/kafka-ca/ca.crt
{{- end }}
{{- if $as.client }}
- --kafka-cert=/etc/duiwu/kafka-client/tls.crt
- --kafka-key=/etc/duiwu/kafka-client/tls.key
{{- end }}
{{- if $as.sasl }}
- --kafka-sasl={{ $root.Values.kafka.sasl.mechanism }}
- --kafka-password-file=/etc/duiwu/kafka-password/password
{{- end }}
{{- end }}

{{- define "duiwu.kafka.env" -}}
{{- with (include "duiwu.kafka.as" . | fromYaml).sasl }}
# Not an argument: KEDA reads the user from here.
- name: DUIWU_KAFKA_USER
  value: {{ .user | quote }}
{{- end }}
{{- end }}

{{- define "duiwu.kafka.mounts" -}}
{{- $as := include "duiwu.kafka.as" . | fromYaml -}}
{{- if (first .).Values.kafka.tls.ca.existingSecret }}
- name: kafka-ca
  mountPath: /etc/duiwu/kafka-ca
  readOnly: true
{{- end }}
{{- if $as.client }}
- name: kafka-client
  mountPath: /etc/duiwu/kafka-client
  readOnly: true
{{- end }}
{{- if $as.sasl }}
- name: kafka-password
  mountPath: /etc/duiwu/kafka-password
  readOnly: true
{{- end }}
{{- end }}

{{- define "duiwu.kafka.volumes" -}}
{{- $as := include "duiwu.kafka.as" . | fromYaml -}}
{{- $root := first . }}
{{- if $root.Values.kafka.tls.ca.existingSecret }}
{{ include "duiwu.secret" (list "kafka-ca" $root.Values.kafka.tls.ca.existingSecret (dict "ca.crt" $root.Values.kafka.tls.ca.key)) }}
{{- end }}
{{- with $as.client }}
{{ include "duiwu.secret" (list "kafka-client" .secret (dict "tls.crt" .cert "tls.key" .key)) }}
{{- end }}
{{- with $as.sasl }}
{{ include "duiwu.secret" (list "kafka-password" .secret (dict "password" .key)) }}
{{- end }}
{{- end }}

{{/* A secret as a volume; takes (list volume secret files), where files are keys by file name. */}}
{{- define "duiwu.secret" -}}
- name: {{ index . 0 }}
  secret:
    secretName: {{ index . 1 }}
    defaultMode: 0440
    items:
      {{- range $path, $key := index . 2 }}
      - key: {{ $key }}
        path: {{ $path }}
      {{- end }}
{{- end }}

{{/* The keys of the workers. */}}
{{- define "duiwu.keys.args" -}}
- --token-keys=/etc/duiwu/keys/token-keys
- --token-algorithm={{ .Values.keys.tokenAlgorithm }}
- --hash-key=/etc/duiwu/keys/hash-key
{{- if .Values.keys.seal.existingSecret }}
- --seal-keys=/etc/duiwu/seal-keys/seal-keys
{{- end }}
{{- end }}

{{- define "duiwu.keys.mounts" -}}
- name: keys
  mountPath: /etc/duiwu/keys
  readOnly: true
{{- if .Values.keys.seal.existingSecret }}
- name: seal-keys
  mountPath: /etc/duiwu/seal-keys
  readOnly: true
{{- end }}
{{- end }}

{{- define "duiwu.keys.volumes" -}}
{{ include "duiwu.secret" (list "keys" .Values.keys.existingSecret (dict "token-keys" .Values.keys.tokenKeysKey "hash-key" .Values.keys.hashKeyKey)) }}
{{- if .Values.keys.seal.existingSecret }}
{{ include "duiwu.secret" (list "seal-keys" .Values.keys.seal.existingSecret (dict "seal-keys" .Values.keys.seal.key)) }}
{{- end }}
{{- end }}

{{/* The Go runtime's limit; takes (list root resources). */}}
{{- define "duiwu.memory" -}}
{{- $limit := dig "limits" "memory" "" (last . | default dict) }}
{{- if and $limit (first .).Values.worker.memoryPercent }}
- name: GOMEMLIMIT
  value: {{ div (mul (include "duiwu.bytes" $limit | int64) (first .).Values.worker.memoryPercent) 100 | quote }}
{{- end }}
{{- end }}

{{/* Bytes of a Kubernetes quantity. */}}
{{- define "duiwu.bytes" -}}
{{- $s := toString . -}}
{{- $n := regexFind "^[0-9]+(\\.[0-9]+)?" $s | float64 -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 -}}
{{- $unit := regexReplaceAll "^[0-9.]+" $s "" -}}
{{- if not (hasKey $units $unit) }}{{ fail (printf "resources.limits.memory is %s: write it with Mi or Gi" $s) }}{{ end -}}
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
