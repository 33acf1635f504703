package kind_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"path/filepath"

	"github.com/stretchr/testify/require"
	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// editor creates a user in the group of production's editors, with a certificate signed by the cluster CA, and returns the path of its
// kubeconfig.
func (s *fixture) editor() string {
	s.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(s, err)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "eddie", Organization: []string{"flokoa:production:editors"}}}, key)
	require.NoError(s, err)
	encoded, err := x509.MarshalECPrivateKey(key)
	require.NoError(s, err)

	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters["it"] = &clientcmdapi.Cluster{Server: cluster.config.Host, CertificateAuthorityData: cluster.config.CAData}
	kubeconfig.AuthInfos["eddie"] = &clientcmdapi.AuthInfo{
		ClientCertificateData: s.sign(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})),
		ClientKeyData:         pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded}),
	}
	kubeconfig.Contexts["it"] = &clientcmdapi.Context{Cluster: "it", AuthInfo: "eddie", Namespace: s.namespace}
	kubeconfig.CurrentContext = "it"
	path := filepath.Join(s.TempDir(), "kubeconfig")
	require.NoError(s, clientcmd.WriteToFile(*kubeconfig, path))
	return path
}

// sign has the cluster's authority sign a request for a certificate, as an administrator would by kubectl certificate approve.
func (s *fixture) sign(request []byte) []byte {
	s.Helper()
	csr := &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "live-eddie-"},
		Spec: certificatesv1.CertificateSigningRequestSpec{Request: request, SignerName: certificatesv1.KubeAPIServerClientSignerName,
			ExpirationSeconds: ptr.To[int32](3600), Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth}},
	}
	require.NoError(s, api.Create(s.Context(), csr))
	s.Cleanup(func() { _ = api.Delete(context.Background(), csr) })
	csr.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: "True", Reason: "Test"}}
	clients, err := kubernetes.NewForConfig(cluster.config)
	require.NoError(s, err)
	_, err = clients.CertificatesV1().CertificateSigningRequests().UpdateApproval(s.Context(), csr.Name, csr, metav1.UpdateOptions{})
	require.NoError(s, err)
	s.eventually("the certificate is signed", waitTimeout, func() error {
		require.NoError(s, api.Get(s.Context(), client.ObjectKeyFromObject(csr), csr))
		if len(csr.Status.Certificate) == 0 {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	return csr.Status.Certificate
}
