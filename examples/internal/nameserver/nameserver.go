// Package nameserver is a DNS server on a loopback address, and a way to have a
// program ask it and no other.
package nameserver

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"

	"github.com/miekg/dns"
)

// Zone returns the records of a name, in small letters and with the dot at its
// end.
type Zone func(name string, kind uint16) []dns.RR

// Server is a running DNS server at port 53 of its address.
type Server struct {
	Addr    string // without the port
	servers []*dns.Server
	ended   chan error
}

// Start returns when the server answers. It takes an address of 127.53.0.0/16
// that nobody has. The port is for root only.
func Start(z Zone) (*Server, error) {
	var last error
	for try := range 20 {
		n := os.Getpid() + try
		addr := fmt.Sprintf("127.53.%d.%d", n>>8&0xff, n&0xff)
		s, err := startAt(addr, z)
		if err == nil {
			return s, nil
		}
		last = err
	}
	return nil, last
}

func startAt(addr string, z Zone) (*Server, error) {
	at := net.JoinHostPort(addr, "53")
	packets, err := net.ListenPacket("udp", at)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		packets.Close()
		return nil, err
	}
	s := &Server{
		Addr: addr, ended: make(chan error, 2),
		servers: []*dns.Server{{PacketConn: packets, Handler: z}, {Listener: l, Handler: z}},
	}
	for _, one := range s.servers {
		ready := make(chan struct{})
		one.NotifyStartedFunc = func() { close(ready) }
		go func() { s.ended <- one.ActivateAndServe() }()
		<-ready
	}
	return s, nil
}

// Stop ends the server.
func (s *Server) Stop() error {
	var errs []error
	for _, one := range s.servers {
		errs = append(errs, one.Shutdown())
	}
	for range s.servers {
		errs = append(errs, <-s.ended)
	}
	return errors.Join(errs...)
}

// ServeDNS implements [dns.Handler].
func (z Zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	a := new(dns.Msg).SetReply(q)
	a.Authoritative, a.RecursionAvailable = true, true
	for _, one := range q.Question {
		a.Answer = append(a.Answer, z(dns.CanonicalName(one.Name), one.Qtype)...)
	}
	_ = w.WriteMsg(a)
}

// WriteConf writes a resolv.conf that names s.
func (s *Server) WriteConf(name string) error {
	return os.WriteFile(name, []byte("nameserver "+s.Addr+"\n"), 0o644)
}

// asking runs a program in a mount namespace of its own, where its first
// argument is /etc/resolv.conf. The program keeps the process.
const asking = `mount --bind "$0" /etc/resolv.conf && exec "$@"`

// Command is a program that finds conf in the place of /etc/resolv.conf; the
// rest of the machine does not. It takes root.
func Command(conf, name string, args ...string) *exec.Cmd {
	words := append([]string{"--mount", "sh", "-c", asking, conf, name}, args...)
	return exec.Command("unshare", words...)
}
