{{- define "flokoa-environment.namespace" -}}
{{- default (printf "flokoa-%s" .Values.environment) .Values.namespace.name }}
{{- end }}

{{/*
Labels of every object. app.kubernetes.io/instance is missing on purpose: names are fixed, a namespace holds one environment, and Argo
CD may use the label for tracking.
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

{{/* Metadata of an object in the environment; takes a dict of root and name. */}}
{{- define "flokoa-environment.metadata" -}}
name: {{ .name | quote }}
namespace: {{ include "flokoa-environment.namespace" .root | quote }}
labels:
  {{- include "flokoa-environment.labels" .root | nindent 2 }}
{{- end }}

{{/* Annotations of objects that must outlive the release: for Helm, Flux and Argo CD, in this order. */}}
{{- define "flokoa-environment.keep" -}}
helm.sh/resource-policy: keep
kustomize.toolkit.fluxcd.io/prune: disabled
argocd.argoproj.io/sync-options: Prune=false,Delete=false
{{- end }}

{{/* Labels that make a namespace an environment: they select the admission policies and the Pod Security levels. */}}
{{- define "flokoa-environment.guards" -}}
flokoa.ai/environment: {{ .Values.environment }}
flokoa.ai/min-replicas: {{ int .Values.minReplicas | quote }}
pod-security.kubernetes.io/enforce: {{ .Values.podSecurity.enforce }}
pod-security.kubernetes.io/enforce-version: {{ .Values.podSecurity.enforceVersion }}
pod-security.kubernetes.io/warn: {{ .Values.podSecurity.warn }}
pod-security.kubernetes.io/warn-version: latest
pod-security.kubernetes.io/audit: {{ .Values.podSecurity.warn }}
pod-security.kubernetes.io/audit-version: latest
{{- end }}

{{/* Subjects of a RoleBinding; takes a dict of groups, users and serviceAccounts. */}}
{{- define "flokoa-environment.subjects" -}}
{{- range .groups }}
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
  name: {{ .name | quote }}
  namespace: {{ .namespace | quote }}
{{- end }}
{{- end }}
