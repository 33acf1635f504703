{{/*
Full name of all objects. It has at most 55 characters, so that "-metrics" fits in the 63 of a Service name, and no dot, which a
release name may contain and a Service name may not.
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

{{/* Selector labels of the pods. Never add to them: a Deployment's selector is immutable. */}}
{{- define "flokoa-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Labels of every object except pods: they change with every version and would restart the operator. */}}
{{- define "flokoa-operator.labels" -}}
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

{{/* Labels of the `helm test` pod. They differ from the operator's, so that the metrics Service does not select it. */}}
{{- define "flokoa-operator.testLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}-test
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* Image pull secrets: those of the umbrella chart, then those of this chart. */}}
{{- define "flokoa-operator.imagePullSecrets" -}}
{{- with concat (default list ((.Values.global).imagePullSecrets)) .Values.imagePullSecrets | uniq }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
Image reference. The umbrella chart's registry takes precedence over this chart's, the digest over the tag, and the tag over
appVersion.
*/}}
{{- define "flokoa-operator.image" -}}
{{- with default .Values.image.registry ((.Values.global).imageRegistry) }}{{ . }}/{{ end }}
{{- .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}
{{- else }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{/* The Secrets whose changes roll Agents, as the operator's flag lists them. It observes none if nothing rolls. */}}
{{- define "flokoa-operator.configRolloutSecrets" -}}
{{- $all := list }}
{{- range $namespace, $secrets := ternary .Values.configRollouts.secrets dict (gt (int .Values.configRollouts.max) 0) }}
{{- range $secrets }}
{{- $all = append $all (printf "%s/%s" $namespace .) }}
{{- end }}
{{- end }}
{{- join "," $all }}
{{- end }}
