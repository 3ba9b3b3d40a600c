package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
)

// browser is somebody who looks at the shop.
type browser struct {
	t    *testing.T
	shop string // URL
	stop func()
}

// open runs the shop until stop is called, or the test ends.
func open(t *testing.T, database, smartHost string) *browser {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, w, options{"127.0.0.1:0", database, smartHost})
		w.CloseWithError(io.EOF)
		done <- err
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("the shop has not opened: %v", <-done)
	}
	stopped := false
	b := &browser{t: t, shop: strings.Fields(line)[1], stop: func() {
		if cancel(); !stopped {
			stopped = true
			if err := <-done; err != nil {
				t.Errorf("the shop ended with %v", err)
			}
		}
	}}
	t.Cleanup(b.stop)
	return b
}

func (b *browser) read(r *http.Response, err error) (int, string) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

// form returns the number of the order on a fresh page.
func (b *browser) form() string {
	b.t.Helper()
	_, page := b.read(http.Get(b.shop))
	found := regexp.MustCompile(`name="id" value="([^"]+)"`).FindStringSubmatch(page)
	if found == nil {
		b.t.Fatalf("no form: %s", page)
	}
	return found[1]
}

// order posts the form, and wants a status and words on the page that follows.
func (b *browser) order(id, item, to string, status int, words string) {
	b.t.Helper()
	got, page := b.read(http.PostForm(b.shop, url.Values{
		"id": {id}, "item": {item}, "to": {to},
	}))
	if got != status || !strings.Contains(page, words) {
		b.t.Errorf("order %s of %s for %s: %d, want %d with %q: %s", id, item, to, got, status,
			words, page)
	}
}

// row waits until an order is shown with words.
func (b *browser) row(id string, words ...string) {
	b.t.Helper()
	pattern := regexp.MustCompile(`(?s)<tr id="` + id + `">(.*?)</tr>`)
	for end := time.Now().Add(3 * mailtest.Patience); ; time.Sleep(50 * time.Millisecond) {
		_, page := b.read(http.Get(b.shop))
		row := pattern.FindString(page)
		missing := ""
		for _, w := range words {
			if !strings.Contains(row, w) {
				missing = w
			}
		}
		if missing == "" && strings.Count(page, `id="`+id+`"`) == 1 {
			return
		}
		if time.Now().After(end) {
			b.t.Fatalf("no %q for order %s: %s", missing, id, page)
		}
	}
}

// TestOutbox shops as a visitor does: mail goes out for what is ordered, once,
// and for nothing else; the page tells what became of it, also after a restart.
func TestOutbox(t *testing.T) {
	mailtest.Programs(t)
	t.Parallel()
	database := pgspooltest.Start(t, nil).Database(t)
	sink := mailtest.NewSink(t)
	b := open(t, database, sink.Addr)
	arrives := func(id, to string) {
		t.Helper()
		if m := sink.Next(t); m.From != from || m.To[0] != to ||
			!strings.Contains(m.Content, "Subject: Your order "+id) {
			t.Errorf("arrived %+v, want order %s", m, id)
		}
	}

	first := b.form()
	b.order(first, "tea", "anna@example.net", 200, first)
	arrives(first, "anna@example.net")
	b.row(first, "tea", "delivered")
	// The form is posted again, and then with another order in it.
	b.order(first, "tea", "anna@example.net", 200, first)
	b.order(first, "coffee", "anna@example.net", 409, "another order has this number")
	// What fails sends nothing: the next mail is that of the next order.
	lost := b.form()
	b.order(lost, "unicorn", "anna@example.net", 409, "sold out")
	b.order(b.form(), "tea", "nobody", 400, "not an address")
	second := b.form()
	b.order(second, "coffee", "bob@example.net", 200, second)
	arrives(second, "bob@example.net")
	refused, later := b.form(), b.form()
	b.order(refused, "tea", "refuse@example.net", 200, refused)
	b.row(refused, "bounced", "mailbox disabled")
	b.order(later, "tea", "later@example.net", 200, later)
	b.row(later, "deferred", "mailbox full")

	// Another one takes over.
	other := open(t, database, sink.Addr)
	fourth := other.form()
	b.stop()
	other.order(fourth, "coffee", "dora@example.net", 200, fourth)
	arrives(fourth, "dora@example.net")
	other.row(fourth, "delivered")
	other.stop()
	b = open(t, database, sink.Addr)
	b.row(first, "delivered")
	b.row(later, "deferred")
	b.order(first, "tea", "anna@example.net", 200, first) // known, still
	third := b.form()
	b.order(third, "tea", "carl@example.net", 200, third)
	arrives(third, "carl@example.net")
	b.row(third, "delivered")
	want(t, database, "SELECT count(*) FROM shop.orders", 6)
	want(t, database, "SELECT 3000 - 1000 - sum(stock) FROM shop.items", 6)
	// Each has been told of twice: accepted, and what came then.
	want(t, database, "SELECT count(*) FROM shop.orders WHERE told = 2", 6)
	select {
	case m := <-sink.Messages:
		t.Errorf("arrived, too: %+v", m)
	default:
	}
}

// TestManyOrders are placed at once, more than the shop has connections.
func TestManyOrders(t *testing.T) {
	mailtest.Programs(t)
	t.Parallel()
	database := pgspooltest.Start(t, nil).Database(t)
	sink := mailtest.NewSink(t)
	b := open(t, database, sink.Addr)
	var buyers sync.WaitGroup
	for range 100 {
		buyers.Go(func() {
			id := rand.Text()
			b.order(id, "tea", "anna@example.net", 200, "Orders")
		})
	}
	buyers.Wait()
	seen := map[string]bool{}
	for range 100 {
		seen[sink.Next(t).Content] = true
	}
	if len(seen) != 100 {
		t.Errorf("%d different mails, want 100", len(seen))
	}
	want(t, database, "SELECT count(*) FROM shop.orders", 100)
}

// want sees that a query returns n.
func want(t *testing.T, database, query string, n int) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	var got int
	if err := c.QueryRow(t.Context(), query).Scan(&got); err != nil || got != n {
		t.Errorf("%s: %d, %v, want %d", query, got, err, n)
	}
}
