{{/* A RayCluster's specification: a head that trains nothing, and a group of pods for each pool. */}}
{{- define "rere.rayCluster" -}}
{{- $cuda := .Values.images.ray }}
rayVersion: {{ .Values.ray.version | quote }}
enableInTreeAutoscaling: {{ .Values.ray.autoscaling }}
{{- if .Values.ray.autoscaling }}
autoscalerOptions:
  idleTimeoutSeconds: {{ .Values.ray.idleSeconds }}
  resources:
    requests: {cpu: 250m, memory: 512Mi}
    limits: {cpu: 500m, memory: 1Gi}
  securityContext: {{- include "rere.containerSecurity" . | nindent 4 }}
{{- end }}
headGroupSpec:
  rayStartParams:
    num-cpus: "0"  # nothing is placed on it: it must not go under
    num-gpus: "0"
    dashboard-host: 0.0.0.0
    disable-usage-stats: "true"
  template: {{- include "rere.rayPod" (list . .Values.ray.head .Values.images.steps "http://localhost:8265/api/gcs_healthz" .Values.ray.autoscaling) | nindent 4 }}
workerGroupSpecs:
{{- range $pool := .Values.ray.pools }}
  - groupName: {{ $pool.name }}
    replicas: {{ $pool.replicas }}
    minReplicas: {{ $pool.minReplicas }}
    maxReplicas: {{ $pool.maxReplicas }}
    rayStartParams: {disable-usage-stats: "true"}  # KubeRay gives the numbers of CPUs and GPUs from the limits
    template: {{- include "rere.rayPod" (list $ $pool $cuda "http://localhost:52365/api/local_raylet_healthz" false) | nindent 6 }}
{{- end }}
{{- end }}

{{/* A pod of the cluster: (list . pool image url-of-its-health token-of-the-api). The probes need no more than Python. */}}
{{- define "rere.rayPod" -}}
{{- $top := index . 0 }}
{{- $pool := index . 1 }}
{{- $check := printf "import urllib.request; urllib.request.urlopen('%s', timeout=4)" (index . 3) }}
metadata:
  labels: {{- include "rere.labels" (list $top "ray") | nindent 4 }}
spec:
  automountServiceAccountToken: {{ index . 4 }}{{/* the autoscaler, beside the head, asks for pods; KubeRay gives it its account */}}
  enableServiceLinks: false
  securityContext: {{- include "rere.podSecurity" 10001 | nindent 4 }}
  {{- include "rere.pullSecrets" $top | nindent 2 }}
  nodeSelector: {{- toYaml $pool.nodeSelector | nindent 4 }}
  tolerations: {{- toYaml $pool.tolerations | nindent 4 }}
  containers:
    - name: ray
      image: {{ index . 2 | quote }}
      env:
        - {name: HOME, value: /home/rere}
        - {name: RERE_WORK_DIR, value: /mnt/work}
        - {name: RAY_USAGE_STATS_ENABLED, value: "0"}
      {{- range list "livenessProbe" "readinessProbe" }}
      {{ . }}:
        exec: {command: [python, -c, {{ $check | quote }}]}
        initialDelaySeconds: 30
        periodSeconds: 15
        timeoutSeconds: 10
        failureThreshold: 8
      {{- end }}
      resources: {{- toYaml $pool.resources | nindent 8 }}
      securityContext: {{- include "rere.containerSecurity" $top | nindent 8 }}
      volumeMounts:
        - {name: home, mountPath: /home/rere}
        - {name: tmp, mountPath: /tmp}
        - {name: shm, mountPath: /dev/shm}
        - {name: work, mountPath: /mnt/work}
  volumes:
    - {name: home, emptyDir: {}}
    - {name: tmp, emptyDir: {}}
    - {name: shm, emptyDir: {medium: Memory, sizeLimit: {{ $pool.sharedMemory }}}}  # Ray's object store; NCCL's exchange within a node
    - {name: work, persistentVolumeClaim: {claimName: {{ include "rere.name" $top }}-work}}  # as in the steps: checkpoints, inputs, results
{{- end }}
