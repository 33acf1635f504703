package main

import (
	"net/url"
	"path"
	"slices"
	"strings"
)

// A source says where a project publishes the programs of a tool. In URLs and entries, {version} is the version that the tool's
// go.mod pins, {os} and {arch} are the machine's, and {archive} is tar.gz on Linux and zip elsewhere.
//
// A mirror (FLOKOA_DOWNLOADS=URL) holds each file at URL/HOST/PATH of its official address: for example
// https://mirror.example.com/dl.k8s.io/v1.37.2/bin/linux/amd64/kubectl.
type source struct {
	// systems have official programs, on amd64 and arm64.
	systems []string
	files   []file
}

type file struct {
	// program is the name of the program in the tool's folder.
	program string
	// address is where the file is published, sums where its SHA-256 checksum is: alone, in a list, or in GitHub's description
	// of a release.
	address, sums string
	// entry is the program's path in an archive. It is empty if the file is the program.
	entry string
}

// sources by the tool's folder under ci/tools. A tool that is not listed, or not for this system, is compiled.
var sources = map[string]source{
	"kubernetes":      kubernetes("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"),
	"kubernetes-1.35": kubernetes("kube-apiserver", "kubectl"),
	"etcd": {
		systems: []string{"linux", "darwin"},
		files: []file{{
			program: "etcd",
			address: "https://github.com/etcd-io/etcd/releases/download/{version}/etcd-{version}-{os}-{arch}.{archive}",
			sums:    "https://github.com/etcd-io/etcd/releases/download/{version}/SHA256SUMS",
			entry:   "etcd-{version}-{os}-{arch}/etcd",
		}},
	},
	"kwok": {systems: []string{"linux", "darwin"}, files: []file{kwok("kwok"), kwok("kwokctl")}},
	"helm": {
		systems: []string{"linux", "darwin"},
		files: []file{{
			program: "helm",
			address: "https://get.helm.sh/helm-{version}-{os}-{arch}.tar.gz",
			sums:    "https://get.helm.sh/helm-{version}-{os}-{arch}.tar.gz.sha256sum",
			entry:   "{os}-{arch}/helm",
		}},
	},
	"kind": {
		systems: []string{"linux", "darwin"},
		files: []file{{
			program: "kind",
			address: "https://github.com/kubernetes-sigs/kind/releases/download/{version}/kind-{os}-{arch}",
			sums:    "https://github.com/kubernetes-sigs/kind/releases/download/{version}/kind-{os}-{arch}.sha256sum",
		}},
	},
}

// kubernetes publishes servers for Linux only.
func kubernetes(programs ...string) source {
	s := source{systems: []string{"linux"}}
	for _, program := range programs {
		address := "https://dl.k8s.io/{version}/bin/{os}/{arch}/" + program
		s.files = append(s.files, file{program: program, address: address, sums: address + ".sha256"})
	}
	return s
}

// kwok publishes no file with checksums. GitHub computes them when a file is uploaded, and publishes them with the release.
func kwok(program string) file {
	return file{
		program: program,
		address: "https://github.com/kubernetes-sigs/kwok/releases/download/{version}/" + program + "-{os}-{arch}",
		sums:    "https://api.github.com/repos/kubernetes-sigs/kwok/releases/tags/{version}",
	}
}

// filesOf returns the files of a tool for a machine, or none if its project publishes none for it.
func filesOf(tool, version, system, arch string) []file {
	s := sources[tool]
	if !slices.Contains(s.systems, system) || (arch != "amd64" && arch != "arm64") {
		return nil
	}
	archive := "zip"
	if system == "linux" {
		archive = "tar.gz"
	}
	fill := strings.NewReplacer("{version}", version, "{os}", system, "{arch}", arch, "{archive}", archive).Replace
	var files []file
	for _, f := range s.files {
		files = append(files, file{program: f.program, address: fill(f.address), sums: fill(f.sums), entry: fill(f.entry)})
	}
	return files
}

// at returns the address on a mirror, or the official address if there is no mirror.
func at(mirror, address string) string {
	if mirror == "" {
		return address
	}
	return strings.TrimSuffix(mirror, "/") + "/" + strings.TrimPrefix(address, "https://")
}

// hostOf is how messages call the server that an address is on.
func hostOf(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return u.Host
	}
	return address
}

// nameOf is the name by which lists of checksums call a file.
func nameOf(address string) string { return path.Base(address) }
