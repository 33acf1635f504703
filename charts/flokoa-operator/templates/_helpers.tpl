{{/*
Name of all objects. At most 55 characters, which leaves a Service's 63 room for "-metrics", and no dot, which a release name
may have and a Service name may not.
*/}}
{{- define "flokoa-operator.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $release := replace "." "-" .Release.Name }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride }}
{{- else if contains $name $release }}
{{- $release | trunc 55 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" $release $name | trunc 55 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* The labels that pods are found by. Deployment selectors are immutable: never add to these. */}}
{{- define "flokoa-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The labels of every object, but not of pods: these change with every version and would restart the operator. */}}
{{- define "flokoa-operator.labels" -}}
{{- with .Values.commonLabels }}
{{- toYaml . | trim }}
{{ end -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "flokoa-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: flokoa
{{- end }}

{{- define "flokoa-operator.serviceAccountName" -}}
{{- default (include "flokoa-operator.fullname" .) .Values.serviceAccount.name }}
{{- end }}

{{/* The labels of the pod of `helm test`: not the operator's, or the Service would lead to it. */}}
{{- define "flokoa-operator.testLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Secrets to pull the image with: the umbrella chart's, then the chart's own. */}}
{{- define "flokoa-operator.imagePullSecrets" -}}
{{- with concat (default list ((.Values.global).imagePullSecrets)) .Values.imagePullSecrets | uniq }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
Reference of the image: an umbrella chart's registry wins over the chart's, the digest over the tag, the tag over the chart's
appVersion.
*/}}
{{- define "flokoa-operator.image" -}}
{{- with default .Values.image.registry ((.Values.global).imageRegistry) }}{{ . }}/{{ end }}
{{- .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}
{{- else }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}
