package main

import (
	"strings"
	"testing"

	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

func TestRelay(t *testing.T) {
	sink := mailtest.NewSink(t)
	r, err := newRelay(memspool.New(nil), "127.0.0.1:0", "127.0.0.1, 127.0.1.0/24", sink.Addr)
	if err != nil {
		t.Fatal(err)
	}
	mailtest.Run(t, r)
	addr := r.Addrs("apps")[0].String()

	for _, host := range []string{"127.0.0.1", "127.0.1.77"} {
		c, err := mailtest.Dial(host, addr)
		if err != nil {
			t.Fatalf("from %s: %v", host, err)
		}
		if err := mailtest.Send(c, "app@example.com", "somebody@example.net", host); err != nil {
			t.Fatalf("from %s: %v", host, err)
		}
		c.Close()
		m := sink.Next(t)
		if m.From != "app@example.com" || m.To[0] != "somebody@example.net" ||
			!strings.Contains(m.Content, "Subject: "+host) {
			t.Errorf("arrived: %+v", m)
		}
	}
	if _, err := mailtest.Dial("127.0.2.1", addr); err == nil {
		t.Error("a host that is not listed was greeted")
	}
}

func TestFaults(t *testing.T) {
	for _, allow := range []string{"", "0.0.0.0/0", "example.com"} {
		if _, err := newRelay(memspool.New(nil), "127.0.0.1:0", allow, "127.0.0.1:25"); err == nil {
			t.Errorf("-allow %q was accepted", allow)
		}
	}
}
