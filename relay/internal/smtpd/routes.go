package smtpd

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

const maxRoutes = 1 << 20 // octets read of a table of routes

// defaultGateways asks Linux. Other systems have no such files, and no gateways
// are known there. It returns nil if a file that is there cannot be read now.
func defaultGateways() []netip.Addr {
	list := []netip.Addr{}
	for path, parse := range map[string]func(string) (netip.Addr, bool){
		"/proc/net/route": routeIPv4, "/proc/net/ipv6_route": routeIPv6,
	} {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil
		}
		list = append(list, parseRoutes(f, parse)...)
		f.Close()
	}
	return list
}

func parseRoutes(r io.Reader, parse func(string) (netip.Addr, bool)) []netip.Addr {
	var list []netip.Addr
	for s := bufio.NewScanner(io.LimitReader(r, maxRoutes)); s.Scan(); {
		if a, ok := parse(s.Text()); ok {
			list = append(list, a)
		}
	}
	return list
}

// rtfGateway marks a route through a gateway (linux/route.h).
const rtfGateway = 2

// routeIPv4 reads a line of /proc/net/route: interface, destination, gateway,
// flags, …, mask at 7.
func routeIPv4(line string) (netip.Addr, bool) {
	f := strings.Fields(line)
	if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
		return netip.Addr{}, false
	}
	n, err := strconv.ParseUint(f[2], 16, 32)
	flags, err2 := strconv.ParseUint(f[3], 16, 32)
	if err != nil || err2 != nil || flags&rtfGateway == 0 {
		return netip.Addr{}, false
	}
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(n)) // written as this machine reads the address
	a := netip.AddrFrom4(b)
	return a, isHost(a)
}

// routeIPv6 reads a line of /proc/net/ipv6_route: destination, its bits,
// source, its bits, next hop, …, flags at 8.
func routeIPv6(line string) (netip.Addr, bool) {
	f := strings.Fields(line)
	if len(f) < 9 || strings.Trim(f[0], "0") != "" || f[1] != "00" {
		return netip.Addr{}, false
	}
	b, err := hex.DecodeString(f[4])
	flags, err2 := strconv.ParseUint(f[8], 16, 32)
	if err != nil || err2 != nil || flags&rtfGateway == 0 {
		return netip.Addr{}, false
	}
	a, ok := netip.AddrFromSlice(b)
	return a, ok && a.Is6() && isHost(a)
}
