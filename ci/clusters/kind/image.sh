#!/usr/bin/env bash
# Prints the name of a node image for kind, and builds it first when the engine does not have it: for machines where kind's own
# image cannot be pulled. It is made of Go modules and Debian packages alone; README.md lists the differences from kind's own.
#
#   ci/clusters/kind/image.sh
#
# The name is made of everything that the image depends on. What takes long to make stays in the user's cache folder.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=${here%/*/*}/tools
# shellcheck source=ci/tools/progress.sh
source "$tools/progress.sh"

repository=node.local # the imageRepository of kubeadm in cluster.yaml
debian=bookworm       # its systemd, 252, starts on cgroup v1 and v2
packages=systemd,conntrack,iptables,nftables,iproute2,ethtool,util-linux,mount,kmod,libseccomp2,ca-certificates,curl,jq,procps,runc
packages+=,gettext-base,ipset

main() {
  check_prerequisites
  hold "$(flokoa_cache)/kind-image.lock" "it builds the node image"
  trap stop EXIT
  trap 'exit 130' INT TERM
  local tool
  for tool in kubernetes etcd kubelet containerd cni; do
    programs[$tool]=$("$tools/build.sh" "$tool")
  done
  image=flokoa.local/kind-node:$(version)-$(fingerprint)
  if ! docker image inspect "$image" >/dev/null 2>&1; then
    say "node image: kind's own cannot be pulled, so it is built"
    work=$(mktemp -d)
    root_image=flokoa.local/kind-node-root:$debian-$(hash_of "$packages")
    build
  fi
  printf '%s\n' "$image"
}
declare -A programs
work=''

stop() {
  if [[ -n $watched ]]; then kill "$watched" 2>/dev/null || true; fi
  if [[ -n $work ]]; then rm -rf "$work"; fi
  release
}

# --- what is needed -----------------------------------------------------------------------------------------------------

check_prerequisites() {
  local missing=()
  [[ $(uname -s) == Linux ]] || fail "a node image can only be built on Linux" "Where a registry can be reached, none has to be built."
  ((EUID == 0)) || fail "building the node image needs root: debootstrap makes a root file system" "Run: sudo -E make kind-up"
  command -v debootstrap >/dev/null || missing+=(debootstrap)
  ((${#missing[@]} == 0)) || fail "missing: ${missing[*]}" "Install it: apt-get install ${missing[*]}"
}

version() {
  local folder=${programs[kubernetes]##*/kubernetes-}
  printf '%s' "${folder%-*}"
}

fingerprint() {
  {
    printf '%s\n' "${programs[@]##*/}" "$debian" "$packages"
    cat "$here/image.sh" "$here"/go.*
    find "$here"/{node,network,pause,dns} -type f -not -name '*_test.go' -print0 | sort -z | xargs -0 cat
  } | git hash-object --stdin | cut -c1-8
}

hash_of() { git hash-object --stdin <<<"$1" | cut -c1-8; }

# --- building -----------------------------------------------------------------------------------------------------------

build() {
  mkdir -p "$work/bin" "$work/files" "$work/images"
  watch_over "node image: compiling the pod network and DNS" compile
  docker image inspect "$root_image" >/dev/null 2>&1 || watch_over "node image: a root file system from Debian's packages (about a minute)" make_root
  watch_over "node image: the images of the control plane" make_images
  watch_over "node image: putting the files together" place_files
  watch_over "node image: building $image (about a minute)" \
    docker build --network none --build-arg "ROOT=$root_image" --tag "$image" --file "$here/node/Dockerfile" "$work"
  # What went into the image is not needed beside it.
  docker image rm --force $(docker images --quiet "$repository/*") >/dev/null
  docker image prune --force --filter label=flokoa.ai/stage=store >/dev/null
}

compile() {
  cd "$here"
  GOFLAGS=-mod=readonly GOWORK=off CGO_ENABLED=0 \
    go build -buildvcs=false -ldflags "-s -w" -o "$work/bin/" ./network ./pause ./dns
}

make_root() {
  debootstrap --variant=minbase --include="$packages" "$debian" "$work/root" "$(mirror)"
  rm -rf "$work/root"/var/{cache/apt,lib/apt/lists,log}/* "$work/root"/usr/share/{doc,man,locale}/*
  ln -sf /usr/lib/systemd/systemd "$work/root/sbin/init"
  tar -C "$work/root" --numeric-owner -cf - . | docker import - "$root_image"
  rm -rf "$work/root"
}

# mirror: the one that this machine installs from, where it is Debian of the same release.
mirror() {
  local url=''
  if command -v apt-get >/dev/null; then
    url=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $debian" 'Component: main' | head -n 1)
  fi
  printf '%s' "${url:-http://deb.debian.org/debian}"
}

# Each image of the control plane is one static program; the names and tags are those that kubeadm asks for.
make_images() {
  local name names=() program
  while read -r name; do
    names+=("$name")
    program=${name##*/}
    program=${program%%:*}
    case $program in
      etcd) make_image "$name" "${programs[etcd]}/etcd" /usr/local/bin/etcd ;;
      coredns) make_image "$name" "$work/bin/dns" /coredns ;;
      pause) make_image "$name" "$work/bin/pause" /pause ;;
      kube-proxy) make_image "$name" "${programs[kubelet]}/kube-proxy" /usr/local/bin/kube-proxy nft ;;
      *) make_image "$name" "${programs[kubernetes]}/$program" "/usr/local/bin/$program" ;;
    esac
  done < <(kubeadm_images)
  make_image "$(network_image)" "$work/bin/network" /network nft
  docker save --output "$work/images.tar" "${names[@]}" "$(network_image)"
}

kubeadm_images() {
  "${programs[kubelet]}/kubeadm" config images list --image-repository "$repository" --kubernetes-version "$(version)"
}
network_image() { printf '%s/network:%s' "$repository" "$(fingerprint)"; }

# make_image NAME PROGRAM PATH [nft]: with "nft", the program that sets the kernel's packet rules goes along.
make_image() {
  local context=$work/images/${1##*/}
  install -D --mode 755 "$2" "$context$3"
  if [[ ${4:-} == nft ]]; then copy_nft "$context"; fi
  tar -C "$context" --owner=0 --group=0 -cf - . |
    docker import --change "ENTRYPOINT [\"$3\"]" --change 'ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$1"
  rm -rf "$context"
}

# nft is dynamically linked: it comes with its libraries, from the node's own root.
copy_nft() {
  # shellcheck disable=SC2016 # expanded inside the container
  docker run --rm --network none "$root_image" bash -euc '
    tar -chf - /usr/sbin/nft $(ldd /usr/sbin/nft | grep -o "/[^ ]*" | sort -u) 2>/dev/null' | tar -C "$1" -xf -
}

place_files() {
  local files=$work/files kind
  kind=$(cd "$tools/kind" && GOWORK=off go mod download -json sigs.k8s.io/kind | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')/images/base/files
  cp -r --no-preserve=mode "$kind/etc" "$kind/kind" "$files/"
  rm -f "$files/etc/systemd/system/containerd-fuse-overlayfs.service" "$files/etc/containerd/config.toml"
  chmod 755 "$files"/kind/bin/*
  install -D --mode 755 "$kind/usr/local/bin/entrypoint" "$files/usr/local/bin/kind-entrypoint"
  install --mode 755 "$here/node/entrypoint" "$files/usr/local/bin/entrypoint"
  install -D --mode 755 --target-directory "$files/usr/bin" "${programs[kubelet]}"/{kubeadm,kubelet} "${programs[kubernetes]}/kubectl"
  install --mode 755 --target-directory "$files/usr/local/bin" "${programs[containerd]}"/*
  install -D --mode 755 --target-directory "$files/opt/cni/bin" "${programs[cni]}"/*
  mkdir -p "$files/etc/cni/net.d" "$files/etc/kubernetes/manifests" "$files/kind/manifests"
  printf '%s' "$(version)" >"$files/kind/version" # kind takes it with its newline otherwise
  sed "s#@PAUSE@#$(kubeadm_images | grep /pause:)#" "$here/node/containerd.toml" >"$files/etc/containerd/config.toml"
  sed "s#@IMAGE@#$(network_image)#" "$here/network/network.yaml" >"$files/kind/manifests/default-cni.yaml"
  cp "$here/node/storage.yaml" "$files/kind/manifests/default-storage.yaml"
}

main "$@"
