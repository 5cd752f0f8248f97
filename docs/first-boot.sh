#!/usr/bin/env bash
# Boots virtual machines by proxydhcp, on a network of their own, from an empty folder. Run it as
# root, after `cargo build --release --package proxydhcp-user`:
#
#   docs/first-boot.sh          a BIOS machine, then a UEFI machine
#   docs/first-boot.sh uefi     one of them
#
# `cargo xtask run --boot` does both. PROXYDHCP_BIN may name another binary.
#
# Everything it makes is in a temporary folder and in two network namespaces, and goes with it.
set -euo pipefail
PATH="$(dirname "${PROXYDHCP_BIN:-$(realpath "$0")/../../target/release/proxydhcp}"):$PATH:/usr/sbin:/sbin"
machines=("$@")
[ $# -gt 0 ] || machines=(bios uefi)

# 1. What is needed.
[ "$(id -u)" = 0 ] || { echo "this needs root, for network namespaces: run it with sudo" >&2; exit 1; }
ovmf=/usr/share/OVMF/OVMF
for needed in proxydhcp ip dnsmasq qemu-system-x86_64 /usr/lib/ipxe/qemu/efi-virtio.rom ${ovmf}_CODE_4M.fd; do
  command -v "$needed" > /dev/null || [ -f "$needed" ] || {
    echo "$needed is missing. proxydhcp: cargo build --release --package proxydhcp-user; others, on Debian and Ubuntu:" >&2
    echo "  apt-get install iproute2 dnsmasq-base qemu-system-x86 ipxe-qemu ovmf" >&2
    exit 1
  }
done

for machine in "${machines[@]}"; do
  case $machine in bios | uefi) ;; *) echo "no such machine: $machine; bios or uefi" >&2; exit 64 ;; esac
done

cd "$(mktemp -d -t first-boot-XXXXXX)"
server=try-server-$$ switch=try-switch-$$
clean_up() {
  jobs -p | xargs -r kill 2> /dev/null || true
  wait || true
  ip netns delete $server 2> /dev/null || true
  ip netns delete $switch 2> /dev/null || true
  rm -r "$PWD"
}
trap clean_up EXIT

# 2. The WinPE. These loaders stand in for Windows' own: they print a line, and wait.
winpe=tftp/winboot/winpe-a/Boot
mkdir -p $winpe
printf '%b' '\x31\xc0\x8e\xd8\xbe\x19\x7c\xfc\xac\x84\xc0\x74\x09\xb4\x0e\xbb\x07\x00\xcd\x10\xeb\xf2\xf4\xeb\xfd' \
  'The loader of winpe-a runs.\r\n\0' > $winpe/pxeboot.0
base64 -d << LOADER | gunzip > $winpe/bootmgfw.efi
H4sIAAAAAAACA/ONYiAbOABxgCsDQ0obI4r4BwYlBm4mIIMJSVAAipH5TFgMVUCIcxHpDgGGgQd6JakVJQxQt8P8xoThtQSG
QQY8mt9oeHR7OXj0irIDuf8DOb68/jshhCGDIRXo3hyGfIZEhhQguwjIy2dIA5LlDJkMeQwFQDFdoJwCUKYUyC9m0GPgJTrG
RsFgAQASs6KZAAQAAA==
LOADER

# 3. Which node boots which WinPE, and which network card is whose.
touch hosts
for key in config=proxydhcp.cfg hosts=hosts tftp-root=tftp control=control.sock; do
  echo "${key%=*} = \"$PWD/${key#*=}\""
done > settings
printf 'interface = ["px0"]\noffers = "known"\ntftp = true\n' >> settings
proxydhcp node set bios winpepath=winboot/winpe-a mac=52:54:00:00:00:01 --settings settings
proxydhcp node set uefi winpepath=winboot/winpe-a mac=52:54:00:00:00:02 --settings settings

# 4. The network: a server, and a switch that the machines are plugged into.
ip netns add $server
ip netns add $switch
ip -n $server link add px0 type veth peer name uplink netns $switch
ip -n $server address add 10.9.0.1/24 dev px0
ip -n $server link set px0 up
ip -n $switch link add switch up type bridge
ip -n $switch link set uplink master switch up

# 5. The server: proxydhcp with its offers and its TFTP server, and dnsmasq as an ordinary DHCP server,
#    which knows nothing of PXE.
ip netns exec $server proxydhcp serve --check --settings settings
ip netns exec $server proxydhcp serve --settings settings &
ip netns exec $server dnsmasq --no-daemon --conf-file=/dev/null --port=0 --user=root --interface=px0 \
  --dhcp-range=10.9.0.100,10.9.0.199 --dhcp-leasefile=leases 2> dnsmasq.log &
sleep 3

# 6. The machines, emulated, one after the other. BIOS is SeaBIOS with iPXE, UEFI is EDK2.
boot() {
  local card=virtio-net-pci,netdev=net,bootindex=0,mac=$2 flash=()
  if [ "$1" = uefi ]; then
    cp ${ovmf}_VARS_4M.fd variables
    card+=,romfile=
    flash=(-drive "if=pflash,format=raw,readonly=on,file=${ovmf}_CODE_4M.fd" -drive if=pflash,format=raw,file=variables)
  fi
  ip -n $switch tuntap add "$1" mode tap
  ip -n $switch link set "$1" master switch up
  : > "$1.console"
  echo "==> switching on the machine with $1; emulated firmware takes up to a minute"
  ip netns exec $switch qemu-system-x86_64 -machine q35,graphics=off -accel tcg -m 256 -nodefaults \
    -display none -serial stdio -device virtio-rng-pci -device "$card" "${flash[@]}" \
    -netdev "tap,id=net,ifname=$1,script=no,downscript=no" < /dev/null > "$1.console" 2>&1 &
  local machine=$! seconds=0
  # What the machine says, without the sequences that clear a screen.
  tail -n +1 -f --pid=$machine "$1.console" | sed -u 's/\x1b\[[0-9;?=]*[A-Za-z]//g; s/\r//g; /^ *$/d' &
  until grep -q 'The loader of winpe-a runs' "$1.console"; do
    sleep 1
    if ! kill -0 $machine || [ $((seconds += 1)) = 180 ]; then
      cat dnsmasq.log
      echo "==> the machine with $1 has NOT booted" >&2
      exit 1
    fi
  done
  sleep 1
  kill $machine
  echo "==> the machine with $1 has booted"
}
for machine in "${machines[@]}"; do
  case $machine in
    bios) boot bios 52:54:00:00:00:01 ;;
    uefi) boot uefi 52:54:00:00:00:02 ;;
    *) echo "no such machine: $machine; there are bios and uefi" >&2; exit 64 ;;
  esac
done

# 7. What proxydhcp has answered.
echo "==> the status of proxydhcp"
proxydhcp status --settings settings
