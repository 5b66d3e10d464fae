{{/* What the objects' names begin with: the release's name, made to fit. Services begin with a letter and have no dots; a
     StatefulSet's pods carry its name and a hash in a label of 63 characters. */}}
{{- define "rere.name" -}}
{{- $name := .Release.Name | replace "." "-" -}}
{{- if regexMatch "^[0-9]" $name }}{{ $name = printf "rere-%s" $name }}{{ end -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Labels of an object: (list . "component"). */}}
{{- define "rere.labels" -}}
{{- $top := index . 0 -}}
app.kubernetes.io/part-of: rere
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/instance: {{ $top.Release.Name }}
{{- end }}

{{/* Labels by which a component's pods are found; the same in objects, policies and configs/k8s.yaml. */}}
{{- define "rere.selector" -}}
app.kubernetes.io/part-of: rere
app.kubernetes.io/component: {{ . }}
{{- end }}

{{/* A pod's security context, as the restricted standard wants it: (user id). */}}
{{- define "rere.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "rere.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "rere.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "rere.storeEndpoint" -}}
{{- if .Values.store.bundled -}}
http://{{ include "rere.name" . }}-store:9000
{{- else -}}
{{ required "store.endpoint is needed where the store is not bundled" .Values.store.endpoint }}
{{- end -}}
{{- end }}

{{/* Credentials of the store, as every S3 client reads them. */}}
{{- define "rere.storeEnvironment" -}}
- name: AWS_ACCESS_KEY_ID
  valueFrom: {secretKeyRef: {name: {{ .Values.secrets.store }}, key: key}}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ .Values.secrets.store }}, key: secret}}
- name: AWS_DEFAULT_REGION
  value: us-east-1
- name: MLFLOW_S3_ENDPOINT_URL
  value: {{ include "rere.storeEndpoint" . | quote }}
{{- end }}

{{/* Libraries count the node's cores, not the container's share of them: threads in excess only wait for each other. */}}
{{- define "rere.threads" -}}
- name: OMP_NUM_THREADS
  valueFrom: {resourceFieldRef: {resource: limits.cpu}}
{{- end }}
