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
	// crdPatience is how long the CRD may take to be served: the API server publishes a new one a moment after accepting it.
	crdPatience = 10 * time.Second
	crdRecheck  = 500 * time.Millisecond
	// serverPatience is how long the API server may take to answer; one that is being restarted is waited for instead of ending, which
	// the kubelet would answer with ever longer pauses. It is less than the 30 s that the chart's liveness probe gives, which finds
	// nobody before the manager starts. serverRecheck is the pause between two tries, and serverTimeout bounds one, also the last.
	serverPatience = 20 * time.Second
	serverRecheck  = 500 * time.Millisecond
	serverTimeout  = 5 * time.Second
)

// preflight refuses to start, in one line, where the operator could not do its work: without an API server, without its CRD, with
// one that lacks fields it needs, or without the permission to read Agents in every namespace it is to work in (none given: in all).
// It tells whether nodes may be read, which the operator can do without.
func preflight(ctx context.Context, config *rest.Config, namespaces []string) (readsNodes bool, err error) {
	schemas, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return false, fmt.Errorf("no way to the API server: %w", err)
	}
	if err := awaitServer(ctx, schemas.RESTClient()); err != nil {
		return false, fmt.Errorf("no way to the API server: %w", err)
	}
	if err := waitForCRD(ctx, schemas); err != nil {
		return false, err
	}
	return mayList(ctx, config, namespaces)
}

// awaitServer returns nil once an API server serves, or refuses to say whether it does. What is wrong with it otherwise is the error.
func awaitServer(ctx context.Context, server rest.Interface) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, serverRecheck, serverPatience, true, func(context.Context) (bool, error) {
		once, cancel := context.WithTimeout(ctx, serverTimeout) // the end of the patience is not what is wrong with the server
		defer cancel()
		last = server.Get().AbsPath("/readyz").Do(once).Error()
		var said apierrors.APIStatus
		refused := errors.As(last, &said) && said.Status().Code < http.StatusInternalServerError && said.Status().Code != http.StatusTooManyRequests
		return last == nil || refused, nil
	})
	if err != nil && last != nil {
		return last
	}
	return err
}

// mayList tries to read one of each kind that the caches will hold. Only nodes may be refused.
func mayList(ctx context.Context, config *rest.Config, namespaces []string) (readsNodes bool, err error) {
	scheme, err := newScheme()
	if err != nil {
		return false, err
	}
	reader, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return false, fmt.Errorf("no way to the API server: %w", err)
	}
	if len(namespaces) == 0 {
		namespaces = []string{corev1.NamespaceAll}
	}
	for _, namespace := range namespaces {
		if err := mayListIn(ctx, reader, namespace); err != nil {
			return false, err
		}
	}
	err = reader.List(ctx, &corev1.NodeList{}, client.Limit(1))
	if err != nil && !apierrors.IsForbidden(err) {
		return false, fmt.Errorf("no way to the API server: %w", err)
	}
	return err == nil, nil
}

func mayListIn(ctx context.Context, reader client.Reader, namespace string) error {
	for _, list := range []client.ObjectList{
		&v1alpha1.AgentList{}, &appsv1.DeploymentList{}, &corev1.ServiceList{}, &corev1.ConfigMapList{},
		&policyv1.PodDisruptionBudgetList{}, &autoscalingv2.HorizontalPodAutoscalerList{}, &corev1.PodList{},
	} {
		err := reader.List(ctx, list, client.Limit(1), client.InNamespace(namespace))
		switch {
		case apierrors.IsForbidden(err) && namespace != "":
			// Who may not read a namespace is not told either whether there is one.
			return fmt.Errorf("namespace %q: bind this account to the Role of the chart flokoa-operator there (create the namespace, then "+
				"helm upgrade with it in watchNamespaces), or take it out of --namespaces: %w", namespace, err)
		case apierrors.IsForbidden(err):
			return fmt.Errorf("bind this account to the ClusterRole of the chart flokoa-operator: %w", err)
		case err != nil:
			return fmt.Errorf("no way to the API server: %w", err)
		}
	}
	return nil
}

var errNotServed = errors.New("the API server does not serve agents.agent.flokoa.ai: install the chart flokoa-crds first")

// waitForCRD returns nil once the served CRD has every field of the one this operator was built with.
func waitForCRD(ctx context.Context, schemas discovery.DiscoveryInterface) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, crdRecheck, crdPatience, true, func(context.Context) (bool, error) {
		served, err := servedSchema(schemas)
		if err == nil {
			err = lacks(served)
		}
		last = err
		return err == nil, nil
	})
	if err != nil && last != nil {
		return last
	}
	return err
}

// servedSchema is the schema of the Agent as the API server publishes it.
func servedSchema(schemas discovery.DiscoveryInterface) (*apiextensionsv1.JSONSchemaProps, error) {
	paths, err := schemas.OpenAPIV3().Paths()
	if err != nil {
		return nil, fmt.Errorf("no way to the API server: %w", err)
	}
	path, ok := paths["apis/"+v1alpha1.GroupVersion.String()]
	if !ok {
		return nil, errNotServed
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
	for name, schema := range document.Components.Schemas {
		if strings.HasSuffix(name, "."+v1alpha1.GroupVersion.Version+"."+v1alpha1.AgentKind) {
			return schema, nil
		}
	}
	return nil, errNotServed
}

// lacks names the fields that this operator knows and the served CRD does not.
func lacks(served *apiextensionsv1.JSONSchemaProps) error {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal(crds.Agents, crd); err != nil {
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
	return fmt.Errorf("the served CRD agents.agent.flokoa.ai lacks %s: upgrade the chart flokoa-crds before the operator", strings.Join(missing, ", "))
}

// missingFields are the paths below a schema that another lacks; a missing field stands for everything below it.
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
