package ecosystem_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// aggregate has the API server ask a program on this machine for an API. A Service of type ExternalName is the only kind that the API
// server can resolve to a loopback address; it identifies itself there by the certificate of the cluster's administrator.
func (s *fixture) aggregate(version, group, namespace, service, port string) {
	s.Helper()
	s.run(fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %[4]s, namespace: %[3]s}
spec: {type: ExternalName, externalName: localhost}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: %[1]s.%[2]s}
spec:
  group: %[2]s
  version: %[1]s
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {name: %[4]s, namespace: %[3]s, port: %[5]s}
`, version, group, namespace, service, port), "apply", "--server-side", "-f", "-")
	name := version + "." + group
	s.Cleanup(func() { s.cleanUp("delete", "apiservice", name, "--ignore-not-found") })
	s.eventually("the API server serves "+group, func() error {
		available := s.run("", "get", "apiservice", name, "-o", `jsonpath={.status.conditions[?(@.type=="Available")]}`)
		if s.run("", "get", "apiservice", name, "-o", `jsonpath={.status.conditions[?(@.type=="Available")].status}`) != "True" {
			return fmt.Errorf("%s", available)
		}
		return nil
	})
}

// certificates writes a certificate that signs itself, for servers and clients on this machine, into a new folder: tls.crt, tls.key, and
// ca.crt.
func certificates(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	folder := t.TempDir()
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	for name, text := range map[string][]byte{
		"tls.crt": public, "ca.crt": public,
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), text, 0o600))
	}
	return folder
}
