{{- define "countersign.name" -}}
{{- if contains "countersign" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-countersign" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "countersign.selector" -}}
app.kubernetes.io/name: countersign
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "countersign.labels" -}}
{{ include "countersign.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{- define "countersign.host" -}}
{{ include "countersign.name" . }}.{{ .Release.Namespace }}.svc
{{- end -}}

{{- define "countersign.tlsSecret" -}}
{{- if eq .Values.certificates.mode "secret" -}}
{{- required "certificates.existingSecret is required with certificates.mode secret" .Values.certificates.existingSecret -}}
{{- else -}}
{{- include "countersign.name" . }}-tls
{{- end -}}
{{- end -}}

{{- define "countersign.policyConfigMap" -}}
{{- .Values.policy.existingConfigMap | default (printf "%s-policy" (include "countersign.name" .)) -}}
{{- end -}}

{{- /* Whether the server talks to the Kubernetes API. */ -}}
{{- define "countersign.usesApi" -}}
{{- if or .Values.pullSecrets.enabled (eq .Values.certificates.mode "self-managed") -}}true{{- end -}}
{{- end -}}

{{- /* What the chart sets of the server's configuration. */ -}}
{{- define "countersign.config" -}}
listen: 0.0.0.0:8443
tls:
  {{- if eq .Values.certificates.mode "self-managed" }}
  selfManaged:
    secret: {{ include "countersign.tlsSecret" . }}
    namespace: {{ .Release.Namespace }}
    service: {{ include "countersign.name" . }}
    webhooks: [{{ include "countersign.name" . }}]
  {{- else }}
  certificate: /etc/countersign/tls/tls.crt
  key: /etc/countersign/tls/tls.key
  {{- end }}
  {{- if .Values.certificates.clientAuthorities }}
  clientAuthorities: /etc/countersign/clients/clients.crt
  {{- end }}
policy:
  file: /etc/countersign/policy/policy.json
{{- if or .Values.pullSecrets.enabled .Values.registries.credentialsSecret }}
registries:
  {{- if .Values.pullSecrets.enabled }}
  pullSecrets: true
  {{- end }}
  {{- if .Values.registries.credentialsSecret }}
  credentials: /etc/countersign/credentials/config.json
  {{- end }}
{{- end }}
{{- end -}}

{{- /* What both webhooks have alike. Takes: context, path, failurePolicy. */ -}}
{{- define "countersign.webhook" -}}
{{- $root := .context -}}
admissionReviewVersions: ["v1"]
clientConfig:
  service:
    namespace: {{ $root.Release.Namespace | quote }}
    name: {{ include "countersign.name" $root | quote }}
    path: {{ .path }}
    port: 443
  {{- /* In the other modes somebody else writes it, and an upgrade must not take it away. */}}
  {{- if eq $root.Values.certificates.mode "secret" }}
  caBundle: {{ required "certificates.caBundle is required with certificates.mode secret" $root.Values.certificates.caBundle | b64enc }}
  {{- end }}
failurePolicy: {{ .failurePolicy }}
matchPolicy: Equivalent
sideEffects: None
timeoutSeconds: {{ $root.Values.webhooks.timeoutSeconds }}
# The way out of a deadlock: the namespaces from which the cluster, and this server, recover. Chosen by a label
# that the API server itself sets and nobody can change.
namespaceSelector:
  matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: NotIn
      values: {{ concat (list "kube-system" $root.Release.Namespace) $root.Values.webhooks.excludedNamespaces | uniq | toJson }}
# A kubelet reports a static pod that it runs already: a denial would hide it, not stop it.
matchConditions:
  - name: no-mirror-pods
    expression: >-
      !(request.resource.group == "" && request.resource.resource == "pods"
      && request.operation == "CREATE"
      && "system:nodes" in request.userInfo.groups
      && request.userInfo.username.startsWith("system:node:")
      && has(object.metadata.annotations)
      && "kubernetes.io/config.mirror" in object.metadata.annotations)
# Everything that names images. What makes pods is asked about for an early answer; what counts is the pod.
rules:
  - apiGroups: [""]
    apiVersions: ["v1"]
    operations: ["CREATE", "UPDATE"]
    resources: ["pods", "pods/ephemeralcontainers", "podtemplates", "replicationcontrollers"]
    scope: "Namespaced"
  - apiGroups: ["apps"]
    apiVersions: ["v1"]
    operations: ["CREATE", "UPDATE"]
    resources: ["daemonsets", "deployments", "replicasets", "statefulsets"]
    scope: "Namespaced"
  - apiGroups: ["batch"]
    apiVersions: ["v1"]
    operations: ["CREATE", "UPDATE"]
    resources: ["cronjobs", "jobs"]
    scope: "Namespaced"
  {{- range $root.Values.webhooks.customResources }}
  - apiGroups: [{{ .group | quote }}]
    apiVersions: ["*"]
    operations: ["CREATE", "UPDATE"]
    resources: {{ .resources | toJson }}
    scope: "*"
  {{- end }}
{{- end -}}
