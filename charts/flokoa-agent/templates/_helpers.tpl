{{/*
Name of the Agent: that of the release, because an Agent per release is the rule. With nameOverride, or as an alias in an umbrella chart,
that comes after it: two Agents of one release need two names. It is never shortened, because its clients know it.
*/}}
{{- define "flokoa-agent.fullname" -}}
{{- $suffix := default (ternary "" .Chart.Name (eq .Chart.Name "flokoa-agent")) .Values.nameOverride }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride }}
{{- else if $suffix }}
{{- printf "%s-%s" .Release.Name $suffix }}
{{- else }}
{{- .Release.Name }}
{{- end }}
{{- end }}

{{/*
Labels of an Agent or a Model; takes a dict of root, name, and labels. app.kubernetes.io/version is missing on purpose: the version of the
agent is in its image.
*/}}
{{- define "flokoa-agent.labels" -}}
{{- $own := dict
      "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
      "app.kubernetes.io/name" .name
      "app.kubernetes.io/instance" .root.Release.Name
      "app.kubernetes.io/managed-by" .root.Release.Service
      "app.kubernetes.io/part-of" "flokoa" }}
{{- merge $own .labels .root.Values.commonLabels | toYaml }}
{{- end }}
