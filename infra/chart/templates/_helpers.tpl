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
http://{{ .Release.Name }}-store:9000
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
