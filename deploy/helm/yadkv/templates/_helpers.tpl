{{/* What all objects are called after: the release, with the chart's name unless it is part of that. */}}
{{- define "yadkv.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What pods are selected by; never to be changed. Takes {root, component}. */}}
{{- define "yadkv.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of the objects themselves; not of pods, which a new version of the chart shall not restart. */}}
{{- define "yadkv.labels" -}}
{{ include "yadkv.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* All placement drivers, as every server is told: the names that the headless service gives. */}}
{{- define "yadkv.pd" -}}
{{- $name := include "yadkv.name" . -}}
{{- $members := list -}}
{{- range $number := until (int .Values.pd.replicas) -}}
{{- $members = append $members (printf "%s-pd-%d.%s-pd.$(POD_NAMESPACE).svc:2379" $name $number $name) -}}
{{- end -}}
{{- join "," $members -}}
{{- end -}}

{{- define "yadkv.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* The part of a pod that placement drivers and stores have in common. Takes {root, component, values}. */}}
{{- define "yadkv.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
affinity:
  podAntiAffinity:
    {{- if eq .root.Values.antiAffinity "required" }}
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "yadkv.selector" . | nindent 12 }}
    {{- else }}
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "yadkv.selector" . | nindent 14 }}
    {{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "yadkv.selector" . | nindent 8 }}
{{- if or .values.extraVolumes .root.Values.tls.secret }}
volumes:
  {{- with .root.Values.tls.secret }}
  - name: certificates
    secret:
      secretName: {{ . }}
      # 0440
      defaultMode: 288
  {{- end }}
  {{- with .values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* What every container ends its arguments with, and is told of its pod. Takes {root, component, values}. */}}
{{- define "yadkv.settings" -}}
{{- range $setting, $value := .values.settings }}
- --set={{ $setting }}={{ $value }}
{{- end }}
{{- if .root.Values.tls.secret }}
- --tls-ca=/etc/yadkv/tls/ca.crt
- --tls-cert=/etc/yadkv/tls/tls.crt
- --tls-key=/etc/yadkv/tls/tls.key
# Kubernetes and Prometheus have no certificate.
- --set=tls.client_auth=except-probes
{{- end }}
{{- with .values.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "yadkv.environment" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: YADKV_LOG
  value: {{ .root.Values.log | quote }}
{{- if .root.Values.tls.secret }}
# For commands that are run in the pod.
- name: YADKV_TLS_CA
  value: /etc/yadkv/tls/ca.crt
- name: YADKV_TLS_CERT
  value: /etc/yadkv/tls/tls.crt
- name: YADKV_TLS_KEY
  value: /etc/yadkv/tls/tls.key
{{- end }}
{{- end -}}

{{/* What probes ask with: nothing for plain text. Takes the root. */}}
{{- define "yadkv.scheme" -}}
{{- if .Values.tls.secret }}
scheme: HTTPS
{{- end }}
{{- end -}}

{{- define "yadkv.container" -}}
resources:
  {{- toYaml .values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop:
      - ALL
volumeMounts:
  - name: data
    mountPath: /data
  {{- if .root.Values.tls.secret }}
  - name: certificates
    mountPath: /etc/yadkv/tls
    readOnly: true
  {{- end }}
  {{- with .values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "yadkv.claims" -}}
- apiVersion: v1
  kind: PersistentVolumeClaim
  metadata:
    name: data
  spec:
    accessModes:
      - ReadWriteOnce
    {{- with .values.storage.className }}
    storageClassName: {{ . | quote }}
    {{- end }}
    resources:
      requests:
        storage: {{ .values.storage.size }}
{{- end -}}
