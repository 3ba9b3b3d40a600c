package admin_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/admin"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// TestRelaysOnOneSpool shows how many there are, where there are several.
func TestRelaysOnOneSpool(t *testing.T) {
	store := memspool.New(nil)
	begin := func() *relay.Relay {
		r, err := relay.New(relay.Config{Hostname: "relay.example.com", Spool: store})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		return r
	}
	until := func(live func() bool) {
		for end := time.Now().Add(time.Minute); !live() && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
	}
	begin()
	until(func() bool { n, err := store.Live(t.Context(), "relay"); return n == 1 && err == nil })
	r := begin()
	until(func() bool { _, live := r.Nodes(); return live == 2 })
	h := newHandler(t, admin.Config{Relay: r, Authorize: open})
	page := do(h, request(http.MethodGet, "/", "")).Body.String()
	if !strings.Contains(page, "<td>2, this one of rank 1</td>") {
		t.Errorf("the page does not tell how many relays there are:\n%s", page)
	}
}
