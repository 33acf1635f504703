package manifests

import (
	"context"
	"errors"
	"fmt"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// revisionsKept bounds the release history, which Helm keeps as Secrets in the release namespace.
const revisionsKept = 3

// Install brings the chart in dir onto the cluster of the kubeconfig file as `helm upgrade --install --create-namespace
// --reset-values` would: a release that exists is upgraded, and values are what is given here over the chart's own, whatever
// an earlier revision had. It returns when the API server has accepted every object; it does not wait for pods.
func Install(ctx context.Context, kubeconfig, dir, releaseName, namespace string, values map[string]any) error {
	return installOrUpgrade(ctx, kubeconfig, dir, releaseName, namespace, values, "secret")
}

// InstallWithConfigMaps does the same as `HELM_DRIVER=configmap helm upgrade --install --reset-values`, for an account that may neither
// write Secrets nor create namespaces.
func InstallWithConfigMaps(ctx context.Context, kubeconfig, dir, releaseName, namespace string, values map[string]any) error {
	return installOrUpgrade(ctx, kubeconfig, dir, releaseName, namespace, values, "configmap")
}

// installOrUpgrade creates the namespace only with driver secret: whoever may write Secrets there owns it.
func installOrUpgrade(ctx context.Context, kubeconfig, dir, releaseName, namespace string, values map[string]any, driver string) error {
	loaded, err := load(dir)
	if err != nil {
		return err
	}
	values, err = asFromFile(values)
	if err != nil {
		return err
	}
	config := new(action.Configuration)
	if err := config.Init(newCluster(kubeconfig, namespace), namespace, driver, func(string, ...any) {}); err != nil {
		return fmt.Errorf("reach the cluster of %s: %w", kubeconfig, err)
	}

	installed, err := isInstalled(config, releaseName)
	if err != nil {
		return fmt.Errorf("look for release %s in namespace %s: %w", releaseName, namespace, err)
	}
	if installed {
		err = upgrade(ctx, config, loaded, releaseName, namespace, values)
	} else {
		err = install(ctx, config, loaded, releaseName, namespace, values, driver == "secret")
	}
	if err != nil {
		return fmt.Errorf("install chart %s as release %s in namespace %s: %w", dir, releaseName, namespace, err)
	}
	return nil
}

func isInstalled(config *action.Configuration, releaseName string) (bool, error) {
	last, err := config.Releases.Last(releaseName)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return last.Info.Status != release.StatusUninstalled, nil
}

func install(
	ctx context.Context, config *action.Configuration, loaded *chart.Chart, releaseName, namespace string, values map[string]any,
	createNamespace bool,
) error {
	install := action.NewInstall(config)
	install.ReleaseName = releaseName
	install.Namespace = namespace
	install.CreateNamespace = createNamespace
	install.Replace = true // over a release that was uninstalled and whose history was kept
	_, err := install.RunWithContext(ctx, loaded, values)
	return err
}

func upgrade(
	ctx context.Context, config *action.Configuration, loaded *chart.Chart, releaseName, namespace string, values map[string]any,
) error {
	upgrade := action.NewUpgrade(config)
	upgrade.Namespace = namespace
	upgrade.ResetValues = true
	upgrade.MaxHistory = revisionsKept
	_, err := upgrade.RunWithContext(ctx, releaseName, loaded, values)
	return err
}

// cluster connects Helm to the cluster of one kubeconfig file. The getter that comes with Helm's command line keeps
// what it discovers on disk, by address: a new control plane on the port of an old one would be taken for the old one.
type cluster struct{ loader clientcmd.ClientConfig }

func newCluster(kubeconfig, namespace string) cluster {
	return cluster{loader: clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig},
		&clientcmd.ConfigOverrides{Context: clientcmdapi.Context{Namespace: namespace}},
	)}
}

// ToRESTConfig is how Helm's clients connect.
func (c cluster) ToRESTConfig() (*rest.Config, error) { return c.loader.ClientConfig() }

// ToRawKubeConfigLoader is where Helm's clients find their default namespace.
func (c cluster) ToRawKubeConfigLoader() clientcmd.ClientConfig { return c.loader }

// ToDiscoveryClient returns Helm's discovery client; its cache ends with the process.
func (c cluster) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	config, err := c.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	return memory.NewMemCacheClient(client), nil
}

// ToRESTMapper maps kinds to resources.
func (c cluster) ToRESTMapper() (meta.RESTMapper, error) {
	client, err := c.ToDiscoveryClient()
	if err != nil {
		return nil, err
	}
	return restmapper.NewDeferredDiscoveryRESTMapper(client), nil
}
