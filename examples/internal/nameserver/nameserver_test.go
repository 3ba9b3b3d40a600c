package nameserver_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/examples/internal/nameserver"
)

// TestCommandAsksTheServer runs a program that looks a name up, which the
// machine's own resolver does not know.
func TestCommandAsksTheServer(t *testing.T) {
	mailtest.Programs(t)
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Fatal("port 53 and the mount take root")
	}
	s, err := nameserver.Start(func(name string, kind uint16) []dns.RR {
		if name != "bench.postern.test." || kind != dns.TypeA {
			return nil
		}
		head := dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: 60}
		return []dns.RR{&dns.A{Hdr: head, A: net.ParseIP("127.54.0.9")}}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}()
	before, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := s.WriteConf(conf); err != nil {
		t.Fatal(err)
	}
	out, err := nameserver.Command(conf, "getent", "ahostsv4", "bench.postern.test").Output()
	if err != nil || !strings.HasPrefix(string(out), "127.54.0.9 ") {
		t.Errorf("%q, %v", out, err)
	}
	after, err := os.ReadFile("/etc/resolv.conf")
	if err != nil || string(after) != string(before) {
		t.Errorf("the system's file is now %q, %v", after, err)
	}
}
