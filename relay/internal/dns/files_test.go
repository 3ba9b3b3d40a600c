package dns_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	miekg "github.com/miekg/dns"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/dns"
)

func TestHostsFileGoesFirst(t *testing.T) {
	hosts := filepath.Join(t.TempDir(), "hosts")
	err := os.WriteFile(hosts, []byte("# comment\n192.0.2.7 Mail.internal mail # here\n"+
		"2001:db8::7\tmail.internal\nnonsense\n300.1.1.1 a\n::1\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s := fixed(t, map[string][]string{
		"mail.internal. A":     {"mail.internal. 60 A 192.0.2.99"},
		"other.internal. A":    {"other.internal. 60 A 192.0.2.99"},
		"other.internal. AAAA": nil,
	})
	r := dns.New(dns.Config{ResolvConf: "none", Hosts: hosts, Servers: []string{s.addr}})
	for host, want := range map[string]string{
		"MAIL.internal.": "[192.0.2.7 2001:db8::7]", "mail": "[192.0.2.7]",
		"other.internal": "[192.0.2.99]", "localhost": "[127.0.0.1 ::1]",
		"a.localhost": "[127.0.0.1 ::1]", "192.0.2.5": "[192.0.2.5]",
	} {
		a, err := r.LookupNetIP(t.Context(), "ip", host)
		if err != nil || fmt.Sprint(a.Records) != want || a.Authentic {
			t.Errorf("%s: %+v, %v", host, a, err)
		}
	}
	_, err = r.LookupNetIP(t.Context(), "ip6", "mail")
	if !errors.Is(err, delivery.ErrNoRecords) {
		t.Errorf("no IPv6 address: %v", err)
	}
}

// The search list is for hosts of the configuration.
func TestSearchList(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	err := os.WriteFile(conf, []byte("search mail.svc.test svc.test\noptions ndots:2\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	const address = "store.svc.test. 60 A 192.0.2.1"
	s := fixed(t, map[string][]string{
		"store.svc.test. A": {address}, "store.svc.test. AAAA": nil,
	})
	hosts := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(hosts, []byte("192.0.2.7 local\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := dns.New(dns.Config{ResolvConf: conf, Hosts: hosts, Servers: []string{s.addr}})
	a, err := r.LookupHost(t.Context(), "local") // the file goes before the list
	if err != nil || fmt.Sprint(a.Records) != "[192.0.2.7]" || len(s.questions()) > 0 {
		t.Errorf("hosts file: %+v, %v, asked %q", a, err, s.questions())
	}
	if a, err := r.LookupHost(t.Context(), "store"); err != nil || len(a.Records) != 1 {
		t.Errorf("host: %+v, %v", a, err)
	}
	if a, err := r.LookupNetIP(t.Context(), "ip", "store"); !delivery.IsNotFound(err) {
		t.Errorf("domain: %+v, %v", a, err)
	}
	if a, err := r.LookupHost(t.Context(), "store."); !delivery.IsNotFound(err) {
		t.Errorf("absolute: %+v, %v", a, err)
	}
}

func TestSearchListStopsAtAFailure(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("search a.test b.test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, func(_ string, query *miekg.Msg) [][]byte {
		rcode := miekg.RcodeNameError
		if query.Question[0].Name == "store.a.test." {
			rcode = miekg.RcodeServerFailure
		}
		return [][]byte{says(t, query, rcode)}
	})
	r := dns.New(dns.Config{ResolvConf: conf, Hosts: "none", Servers: []string{s.addr}})
	if _, err := r.LookupHost(t.Context(), "store"); err == nil || delivery.IsNotFound(err) {
		t.Errorf("error %v", err)
	}
}

func TestSettings(t *testing.T) {
	for text, want := range map[string]string{
		"": "[127.0.0.1:53 [::1]:53] true 2 5s",
		"# x\n; y\nnameserver 192.0.2.1 # z\nnameserver fe80::1%eth0\nnameserver x\n" +
			"options timeout:2 attempts:9 unknown rotate": "[192.0.2.1:53 [fe80::1%eth0]:53] " +
			"false 5 2s",
		"nameserver 192.0.2.1\noptions trust-ad timeout:x attempts:0": "[192.0.2.1:53] true 1 5s",
		"nameserver 127.0.0.11":                     "[127.0.0.11:53] false 2 5s",
		"nameserver 127.0.0.53\noptions timeout:99": "[127.0.0.53:53] true 2 30s",
		strings.Repeat("nameserver 192.0.2.1\n", 9): "[192.0.2.1:53 192.0.2.1:53 " +
			"192.0.2.1:53] false 2 5s",
	} {
		servers, trusted, attempts, timeout := dns.Settings(strings.NewReader(text))
		if got := fmt.Sprintf("%v %v %d %v", servers, trusted, attempts, timeout); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	conf := "search a.test b.test. .\noptions ndots:1\n"
	for host, want := range map[string][]string{
		"x": {"x.a.test", "x.b.test", "x"}, "x.y": {"x.y", "x.y.a.test", "x.y.b.test"}, "x.": {"x"},
	} {
		if got := dns.Candidates(strings.NewReader(conf), host); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
}

func TestSystemResolver(t *testing.T) {
	r := dns.System()
	_, err := os.Stat("/etc/resolv.conf")
	if _, ok := r.(*dns.Resolver); ok != (err == nil) {
		t.Errorf("%T", r)
	}
	if a, err := r.LookupNetIP(t.Context(), "ip", "localhost"); err != nil ||
		!a.Records[0].IsLoopback() {
		t.Errorf("localhost: %+v, %v", a, err)
	}
}
