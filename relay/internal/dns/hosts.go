package dns

import (
	"bufio"
	"io"
	"net/netip"
	"strings"
	"sync"
)

const maxHosts = 1 << 20 // bytes of a hosts file

// hostsFile is a hosts file, read again when it changes.
type hostsFile struct {
	path string
	file watched

	mu    sync.Mutex
	names map[string][]netip.Addr
}

// addresses returns the addresses of a name in lower case.
func (h *hostsFile) addresses(name string) []netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	if src := h.file.changed(h.path); src != nil {
		h.names = readHosts(io.LimitReader(src, maxHosts))
		src.Close()
	}
	return h.names[name]
}

// readHosts reads lines of an address and names (hosts(5)). Others are skipped.
func readHosts(src io.Reader) map[string][]netip.Addr {
	names := make(map[string][]netip.Addr)
	for lines := bufio.NewScanner(src); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, name := range fields[1:] {
			name = strings.ToLower(strings.TrimSuffix(name, "."))
			names[name] = append(names[name], addr.Unmap())
		}
	}
	return names
}
