package dns_test

import (
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	miekg "github.com/miekg/dns"

	"github.com/postern-mail/postern/relay/internal/dns"
)

// server is a DNS server on loopback, by UDP and TCP.
type server struct {
	addr string
	// answer returns what is sent, in order; nothing for silence.
	answer func(network string, query *miekg.Msg) [][]byte

	mu    sync.Mutex
	asked []string // "udp a.example. MX"
}

// newServer starts a server that is closed with the test.
func newServer(t *testing.T, answer func(network string, query *miekg.Msg) [][]byte) *server {
	t.Helper()
	l, p := listenBoth(t)
	s := &server{addr: l.Addr().String(), answer: answer}
	t.Cleanup(func() { l.Close(); p.Close() })
	go s.serveUDP(p)
	go s.serveTCP(l)
	return s
}

// listenBoth listens on a port that is free for TCP and UDP: another program
// may have the first ones by UDP.
func listenBoth(t *testing.T) (net.Listener, net.PacketConn) {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if p, err := net.ListenPacket("udp", l.Addr().String()); err == nil {
			return l, p
		}
		l.Close()
	}
	t.Fatal("no port is free for TCP and UDP")
	return nil, nil
}

func (s *server) serveUDP(p net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := p.ReadFrom(buf)
		if err != nil {
			return
		}
		for _, b := range s.reply("udp", buf[:n]) {
			p.WriteTo(b, from)
		}
	}
}

func (s *server) serveTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			var size [2]byte
			io.ReadFull(c, size[:])
			buf := make([]byte, binary.BigEndian.Uint16(size[:]))
			io.ReadFull(c, buf)
			for _, b := range s.reply("tcp", buf) {
				c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
			}
		}()
	}
}

func (s *server) reply(network string, packed []byte) [][]byte {
	query := new(miekg.Msg)
	if err := query.Unpack(packed); err != nil {
		return nil
	}
	q := query.Question[0]
	s.mu.Lock()
	s.asked = append(s.asked, network+" "+q.Name+" "+miekg.TypeToString[q.Qtype])
	s.mu.Unlock()
	return s.answer(network, query)
}

func (s *server) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// says makes the answer of a recursive server out of records, those of SOA in
// the authority section.
func says(t testing.TB, query *miekg.Msg, rcode int, records ...string) []byte {
	t.Helper()
	m := new(miekg.Msg)
	m.SetRcode(query, rcode)
	m.RecursionAvailable = true
	for _, s := range records {
		rr, err := miekg.NewRR(s)
		if err != nil {
			t.Error(err)
			continue
		}
		if rr.Header().Rrtype == miekg.TypeSOA {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
	return pack(t, m)
}

func pack(t testing.TB, m *miekg.Msg) []byte {
	t.Helper()
	m.Compress = true
	b, err := m.Pack()
	if err != nil {
		t.Error(err)
	}
	return b
}

// fixed is a server with the same records for every question of their name and
// type, aliases included.
func fixed(t *testing.T, zone map[string][]string) *server {
	return newServer(t, func(_ string, query *miekg.Msg) [][]byte {
		q := query.Question[0]
		list, ok := zone[q.Name+" "+miekg.TypeToString[q.Qtype]]
		rcode := miekg.RcodeSuccess
		if !ok {
			rcode = miekg.RcodeNameError
		}
		return [][]byte{says(t, query, rcode, list...)}
	})
}

// ask returns a resolver that asks servers.
func ask(t *testing.T, servers ...*server) *dns.Resolver {
	cfg := dns.Config{
		ResolvConf: filepath.Join(t.TempDir(), "none"), Hosts: filepath.Join(t.TempDir(), "none"),
	}
	for _, s := range servers {
		cfg.Servers = append(cfg.Servers, s.addr)
	}
	return dns.New(cfg)
}

func notFound() error { return &net.DNSError{Err: "no such host", IsNotFound: true} }
