package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flokoa/flokoa/operator/api/crds"
	"github.com/flokoa/flokoa/operator/api/v1alpha1"
)

const (
	// crdTimeout bounds the wait for the CRD: the API server serves a new one a moment after accepting it.
	crdTimeout = 10 * time.Second
	crdRetry   = 500 * time.Millisecond
	// serverTimeout bounds the wait for an API server, for example one that restarts: to exit instead would start the kubelet's
	// crash loop backoff. It is shorter than the 30 s of the chart's liveness probe, which fails until the manager starts.
	serverTimeout = 20 * time.Second
	serverRetry   = 500 * time.Millisecond
	// requestTimeout bounds one try, including the last.
	requestTimeout = 5 * time.Second
)

// preflight returns a one-line error where the operator cannot work: without an API server, without its CRDs or some of their
// fields, or without permission to read what it caches in each of its namespaces (none means all). It returns what it may read and
// can do without.
func preflight(ctx context.Context, config *rest.Config, namespaces []string) (readable, error) {
	schemas, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return readable{}, fmt.Errorf("cannot reach the API server: %w", err)
	}
	if err := awaitServer(ctx, schemas.RESTClient()); err != nil {
		return readable{}, fmt.Errorf("cannot reach the API server: %w", err)
	}
	if err := waitForCRDs(ctx, schemas); err != nil {
		return readable{}, err
	}
	return mayList(ctx, config, namespaces)
}

// awaitServer waits until the API server is ready, or denies access to /readyz. The error is that of the last try.
func awaitServer(ctx context.Context, server rest.Interface) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, serverRetry, serverTimeout, true, func(context.Context) (bool, error) {
		once, cancel := context.WithTimeout(ctx, requestTimeout) // its own: an error about the whole wait would hide that of the server
		defer cancel()
		last = server.Get().AbsPath("/readyz").Do(once).Error()
		var answer apierrors.APIStatus
		denied := errors.As(last, &answer) && answer.Status().Code < http.StatusInternalServerError && answer.Status().Code != http.StatusTooManyRequests
		return last == nil || denied, nil
	})
	if err != nil && last != nil {
		return last
	}
	return err
}

// readable is whether the operator may read the kinds without which it still works. An operator for named namespaces has Roles only,
// which cannot grant a list of Namespaces.
type readable struct{ nodes, namespaces bool }

// mayList lists one object of each kind that the caches will hold. Only nodes and Namespaces may be forbidden.
func mayList(ctx context.Context, config *rest.Config, namespaces []string) (may readable, err error) {
	scheme, err := newScheme()
	if err != nil {
		return may, err
	}
	reader, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return may, fmt.Errorf("cannot reach the API server: %w", err)
	}
	everywhere := len(namespaces) == 0
	if everywhere {
		namespaces = []string{corev1.NamespaceAll}
	}
	for _, namespace := range namespaces {
		if err := mayListIn(ctx, reader, namespace); err != nil {
			return may, err
		}
	}
	if may.nodes, err = allowed(reader.List(ctx, &corev1.NodeList{}, client.Limit(1))); err == nil && everywhere {
		may.namespaces, err = allowed(reader.List(ctx, &corev1.NamespaceList{}, client.Limit(1)))
	}
	return may, err
}

// allowed tells a list that is forbidden from one that failed.
func allowed(err error) (bool, error) {
	if err != nil && !apierrors.IsForbidden(err) {
		return false, fmt.Errorf("cannot reach the API server: %w", err)
	}
	return err == nil, nil
}

func mayListIn(ctx context.Context, reader client.Reader, namespace string) error {
	lists := []client.ObjectList{
		&v1alpha1.AgentList{}, &v1alpha1.ModelList{}, &appsv1.DeploymentList{}, &corev1.ServiceList{}, &corev1.ConfigMapList{},
		&policyv1.PodDisruptionBudgetList{}, &autoscalingv2.HorizontalPodAutoscalerList{}, &corev1.PodList{},
	}
	if namespace == corev1.NamespaceAll {
		lists = append(lists, &coordinationv1.LeaseList{})
	}
	for _, list := range lists {
		options := []client.ListOption{client.Limit(1), client.InNamespace(namespace)}
		if _, ok := list.(*coordinationv1.LeaseList); ok {
			options = append(options, client.MatchingFieldsSelector{Selector: namespaceLeases})
		}
		err := reader.List(ctx, list, options...)
		switch {
		case apierrors.IsForbidden(err) && namespace != "":
			// The API server does not say whether the namespace exists to an account that may not read it.
			return fmt.Errorf("namespace %q: bind this account to the Role of the chart flokoa-operator there (create the namespace, then run "+
				"helm upgrade with it in watchNamespaces), or remove it from --namespaces: %w", namespace, err)
		case apierrors.IsForbidden(err):
			return fmt.Errorf("bind this account to the ClusterRole of the chart flokoa-operator: %w", err)
		case err != nil:
			return fmt.Errorf("cannot reach the API server: %w", err)
		}
	}
	return nil
}

// servedKind is a kind of this API with the CRD that the operator was built with.
type servedKind struct {
	name, resource string
	embedded       []byte
}

var servedKinds = []servedKind{
	{v1alpha1.AgentKind, "agents.agent.flokoa.ai", crds.Agents},
	{v1alpha1.ModelKind, "models.agent.flokoa.ai", crds.Models},
}

// waitForCRDs waits until the served CRDs have every field of the embedded ones.
func waitForCRDs(ctx context.Context, schemas discovery.DiscoveryInterface) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, crdRetry, crdTimeout, true, func(context.Context) (bool, error) {
		served, err := servedSchemas(schemas)
		if err == nil {
			err = requireKinds(served)
		}
		last = err
		return err == nil, nil
	})
	if err != nil && last != nil {
		return last
	}
	return err
}

// servedSchemas are the schemas of the API that the API server publishes, by the end of their names; none if it does not serve the API.
func servedSchemas(schemas discovery.DiscoveryInterface) (map[string]*apiextensionsv1.JSONSchemaProps, error) {
	paths, err := schemas.OpenAPIV3().Paths()
	if err != nil {
		return nil, fmt.Errorf("cannot reach the API server: %w", err)
	}
	path, ok := paths["apis/"+v1alpha1.GroupVersion.String()]
	if !ok {
		return nil, nil
	}
	raw, err := path.Schema(runtime.ContentTypeJSON)
	if err != nil {
		return nil, fmt.Errorf("reading the schema of %s: %w", v1alpha1.GroupVersion, err)
	}
	document := struct {
		Components struct {
			Schemas map[string]*apiextensionsv1.JSONSchemaProps `json:"schemas"`
		} `json:"components"`
	}{}
	if err := json.Unmarshal(raw, &document); err != nil {
		return nil, fmt.Errorf("reading the schema of %s: %w", v1alpha1.GroupVersion, err)
	}
	return document.Components.Schemas, nil
}

// requireKinds returns an error with the first kind that is not served, or not with every field. The operator does not run without one: it
// would start Agents without their Model, and roll all of them once the CRD is there.
func requireKinds(served map[string]*apiextensionsv1.JSONSchemaProps) error {
	for i, kind := range servedKinds {
		schema := schemaOf(served, kind.name)
		switch {
		case schema != nil:
			if err := kind.requireFields(schema); err != nil {
				return err
			}
		case i == 0:
			return fmt.Errorf("the API server does not serve %s: install the chart flokoa-crds first", kind.resource)
		default: // an earlier version of the chart is installed
			return fmt.Errorf("the API server does not serve %s: upgrade the chart flokoa-crds before the operator", kind.resource)
		}
	}
	return nil
}

func schemaOf(served map[string]*apiextensionsv1.JSONSchemaProps, kind string) *apiextensionsv1.JSONSchemaProps {
	for name, schema := range served {
		if strings.HasSuffix(name, "."+v1alpha1.GroupVersion.Version+"."+kind) {
			return schema
		}
	}
	return nil
}

// requireFields returns an error with the fields that the embedded CRD has and the served one lacks.
func (k servedKind) requireFields(served *apiextensionsv1.JSONSchemaProps) error {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal(k.embedded, crd); err != nil {
		return fmt.Errorf("reading the embedded CRD: %w", err)
	}
	var missing []string
	for _, section := range []string{"spec", "status"} {
		want, have := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties[section], served.Properties[section]
		missing = append(missing, missingFields(section, &want, &have)...)
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	const most = 5
	if len(missing) > most {
		missing = append(missing[:most], "...")
	}
	return fmt.Errorf("the served CRD %s lacks %s: upgrade the chart flokoa-crds before the operator", k.resource, strings.Join(missing, ", "))
}

// missingFields are the paths below a schema that another one lacks; a missing field stands for everything below it.
func missingFields(path string, want, have *apiextensionsv1.JSONSchemaProps) []string {
	if want.Items != nil && have.Items != nil && want.Items.Schema != nil && have.Items.Schema != nil {
		return missingFields(path, want.Items.Schema, have.Items.Schema)
	}
	var missing []string
	for name, property := range want.Properties {
		below, ok := have.Properties[name]
		if !ok {
			missing = append(missing, path+"."+name)
			continue
		}
		missing = append(missing, missingFields(path+"."+name, &property, &below)...)
	}
	return missing
}
