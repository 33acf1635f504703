{{- define "flokoa-environment.namespace" -}}
{{- default (printf "flokoa-%s" .Values.environment) .Values.namespace.name }}
{{- end }}

{{/*
Labels of every object. No app.kubernetes.io/instance: names are fixed, one namespace has one environment, and Argo CD may want
the label for itself.
*/}}
{{- define "flokoa-environment.labels" -}}
{{- $labels := dict
      "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
      "app.kubernetes.io/name" .Chart.Name
      "app.kubernetes.io/version" .Chart.AppVersion
      "app.kubernetes.io/managed-by" .Release.Service
      "app.kubernetes.io/part-of" "flokoa" }}
{{- mergeOverwrite (deepCopy .Values.commonLabels) $labels | toYaml }}
{{- end }}

{{/* Metadata of an object of the environment: a dict of root and name. */}}
{{- define "flokoa-environment.metadata" -}}
name: {{ .name }}
namespace: {{ include "flokoa-environment.namespace" .root }}
labels:
  {{- include "flokoa-environment.labels" .root | nindent 2 }}
{{- end }}

{{/* What must outlive the release: for Helm, Flux and Argo CD, in this order. */}}
{{- define "flokoa-environment.keep" -}}
helm.sh/resource-policy: keep
kustomize.toolkit.fluxcd.io/prune: disabled
argocd.argoproj.io/sync-options: Prune=false,Delete=false
{{- end }}

{{/* A peer of a network policy: pods of a namespace. Both selectors in one peer, or each would open the whole of the other. */}}
{{- define "flokoa-environment.peer" -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ .namespace }}
  podSelector:
    matchLabels:
      {{- toYaml .podLabels | nindent 6 }}
{{- end }}

{{/*
Whom a role is bound to: a dict of environment, key (what the default group is named after), and of groups, users and
serviceAccounts as under access.
*/}}
{{- define "flokoa-environment.subjects" -}}
{{- range default (list (printf "flokoa:%s:%s" .environment .key)) .groups }}
- kind: Group
  apiGroup: rbac.authorization.k8s.io
  name: {{ . | quote }}
{{- end }}
{{- range .users }}
- kind: User
  apiGroup: rbac.authorization.k8s.io
  name: {{ . | quote }}
{{- end }}
{{- include "flokoa-environment.serviceAccounts" .serviceAccounts }}
{{- end }}

{{- define "flokoa-environment.serviceAccounts" -}}
{{- range . }}
- kind: ServiceAccount
  name: {{ .name }}
  namespace: {{ .namespace }}
{{- end }}
{{- end }}

{{/* How many replicas the environment asks of each Agent: what the policy flokoa-replicas asks for. */}}
{{- define "flokoa-environment.leastReplicas" -}}
{{- get (dict "dev" 1 "staging" 2 "production" 3) .Values.environment }}
{{- end }}
