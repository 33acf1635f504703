{{/*
Labels and annotations of a CustomResourceDefinition. The generated templates/agents.yaml includes this after metadata.name:

  metadata:
    name: agents.agent.flokoa.ai
    {{- include "flokoa-crds.metadata" . | nindent 2 }}

helm.sh/resource-policy is merged last, so that no value can override it: Helm would delete the CustomResourceDefinition with the
release, and Kubernetes would delete every Agent with it. The annotations for Flux and Argo CD come first: a value may override them.
*/}}
{{- define "flokoa-crds.metadata" -}}
labels:
  {{- $labels := dict
        "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
        "app.kubernetes.io/name" .Chart.Name
        "app.kubernetes.io/instance" .Release.Name
        "app.kubernetes.io/version" .Chart.AppVersion
        "app.kubernetes.io/managed-by" .Release.Service
        "app.kubernetes.io/part-of" "flokoa" }}
  {{- mergeOverwrite $labels .Values.labels | toYaml | nindent 2 }}
annotations:
  {{- $keep := dict
        "kustomize.toolkit.fluxcd.io/prune" "disabled"
        "argocd.argoproj.io/sync-options" "Prune=false,Delete=false,ServerSideApply=true" }}
  {{- mergeOverwrite $keep .Values.annotations (dict "helm.sh/resource-policy" "keep") | toYaml | nindent 2 }}
{{- end }}
