package dns

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Bounds of what resolv.conf may ask for, as in resolv.conf(5).
const (
	maxServers  = 3
	maxSearch   = 6
	maxAttempts = 5
	maxTimeout  = 30
	maxNdots    = 15
	maxConf     = 64 << 10
)

// settings are what resolv.conf says.
type settings struct {
	servers  []server
	search   []string
	ndots    int
	timeout  time.Duration // for one server
	attempts int
	rotate   bool
	tcp      bool // by TCP alone
}

// server is a server to ask.
type server struct {
	addr    string // host:port
	trusted bool   // when it says that an answer is authentic
}

// settingsFile is resolv.conf, read again when it changes.
type settingsFile struct {
	path  string
	fixed []server // instead of those in the file

	mu   sync.Mutex
	file watched
	last *settings
}

// exists reports whether there is a file to read.
func (f *settingsFile) exists() bool {
	_, err := os.Stat(f.path)
	return err == nil
}

// current returns the settings, which are not to be changed.
func (f *settingsFile) current() *settings {
	f.mu.Lock()
	defer f.mu.Unlock()
	var src io.Reader = strings.NewReader("")
	if file := f.file.changed(f.path); file != nil {
		defer file.Close()
		src = io.LimitReader(file, maxConf)
	} else if f.last != nil {
		return f.last
	}
	s := readSettings(src)
	if len(f.fixed) > 0 {
		s.servers = f.fixed
	}
	f.last = s
	return s
}

// readSettings reads resolv.conf(5). What it does not know it leaves out.
func readSettings(src io.Reader) *settings {
	s := &settings{ndots: 1, timeout: 5 * time.Second, attempts: 2}
	trusted := false
	for lines := bufio.NewScanner(src); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || strings.ContainsAny(words[0][:1], "#;") {
			continue
		}
		switch words[0] {
		case "nameserver":
			s.addServer(words[1])
		case "domain", "search":
			s.search = words[1:min(len(words), maxSearch+1)]
		case "options":
			for _, o := range words[1:] {
				trusted = s.option(o) || trusted
			}
		}
	}
	if len(s.servers) == 0 {
		s.addServer("127.0.0.1")
		s.addServer("::1")
	}
	for i := range s.servers {
		s.servers[i].trusted = s.servers[i].trusted || trusted
	}
	return s
}

func (s *settings) addServer(host string) {
	if addr, err := netip.ParseAddr(host); err == nil && len(s.servers) < maxServers {
		s.servers = append(s.servers, serverAt(net.JoinHostPort(addr.String(), "53")))
	}
}

// serverAt is the server at an address. One on this host is trusted, but for
// that of Docker, which passes on what others far away say.
func serverAt(addr string) server {
	docker := netip.AddrFrom4([4]byte{127, 0, 0, 11})
	to, err := netip.ParseAddrPort(addr)
	host := to.Addr().Unmap()
	return server{addr: addr, trusted: err == nil && host.IsLoopback() && host != docker}
}

// option takes one of the options, and reports whether it is trust-ad.
func (s *settings) option(o string) (trust bool) {
	name, value, _ := strings.Cut(o, ":")
	n, err := strconv.Atoi(value)
	switch {
	case name == "trust-ad":
		return true
	case name == "rotate":
		s.rotate = true
	case name == "use-vc" || name == "usevc":
		s.tcp = true
	case err != nil:
	case name == "ndots":
		s.ndots = min(max(n, 0), maxNdots)
	case name == "timeout":
		s.timeout = time.Duration(min(max(n, 1), maxTimeout)) * time.Second
	case name == "attempts":
		s.attempts = min(max(n, 1), maxAttempts)
	}
	return false
}

// candidates returns the absolute names that a host of the configuration may
// mean, in the order of asking.
func (s *settings) candidates(host string) []string {
	name, absolute := strings.CutSuffix(host, ".")
	if absolute {
		return []string{name}
	}
	var list []string
	for _, domain := range s.search {
		if domain = strings.Trim(domain, "."); domain != "" {
			list = append(list, host+"."+domain)
		}
	}
	if strings.Count(host, ".") >= s.ndots {
		return append([]string{host}, list...)
	}
	return append(list, host)
}
