package main

import (
	"testing"

	"github.com/coredns/caddy"
	"github.com/stretchr/testify/require"
)

func TestEveryPluginOfKubeadmsCorefileIsThere(t *testing.T) {
	for _, plugin := range []string{
		"errors", "health", "ready", "kubernetes", "prometheus", "forward", "cache", "loop", "reload", "loadbalance",
		"log", "hosts", "template",
	} {
		_, err := caddy.DirectiveAction("dns", plugin)
		require.NoError(t, err, plugin)
	}
	_, err := caddy.DirectiveAction("dns", "etcd")
	require.Error(t, err, "one that was not asked for")
}

func TestACorefileIsServed(t *testing.T) {
	server, err := caddy.Start(caddy.CaddyfileInput{ServerTypeName: "dns", Contents: []byte(`.:0 {
	errors
	log
	cache 30
	hosts {
		192.0.2.1 example.test
	}
	template IN A template.test {
		answer "{{ .Name }} 60 IN A 192.0.2.2"
	}
	forward . 127.0.0.1:9
	loadbalance
}
`)})
	require.NoError(t, err)
	require.NoError(t, server.Stop())
}
