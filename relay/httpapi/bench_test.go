package httpapi_test

import (
	"context"
	"encoding/base64"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/httpapi"
	"github.com/postern-mail/postern/relay/spool"
)

// BenchmarkMessages takes messages into a queue that forgets them, so that what
// is measured is the handler's and the relay's own work.
func BenchmarkMessages(b *testing.B) {
	w := newWorld(b, func(w *world) {
		w.cfg.Events, w.cfg.Logger, w.http.Logger = nil, nil, nil
		w.cfg.Spool = forgetful{w.store}
	})
	file := base64.StdEncoding.EncodeToString(make([]byte, 1<<20))
	for _, c := range []struct{ name, query, kind, body string }{
		{
			"json-1k", "", "application/json",
			`{"from":"app@example.com","to":["bob@example.net"],"subject":"hi","text":"` +
				strings.Repeat("Hello, world. ", 73) + `"}`,
		},
		{
			"raw-1k", "?from=app@example.com&to=bob@example.net", "message/rfc822",
			letter + strings.Repeat("Hello, world.\r\n", 68),
		},
		{
			"json-1M", "", "application/json",
			`{"from":"app@example.com","to":["bob@example.net"],` +
				`"text":"hi","attachments":[{"name":"a.bin","content":"` + file + `"}]}`,
		},
		{
			"raw-1M", "?from=app@example.com&to=bob@example.net", "message/rfc822",
			letter + strings.Repeat(strings.Repeat("a", 76)+"\r\n", 1<<20/78),
		},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.body)))
			b.ReportAllocs()
			for b.Loop() {
				r := request("POST", "/messages"+c.query, c.body, "Content-Type", c.kind)
				rec := httptest.NewRecorder()
				w.handler.ServeHTTP(rec, r)
				if rec.Code != 202 {
					b.Fatal(rec.Code, rec.Body)
				}
			}
		})
	}
}

func BenchmarkCompose(b *testing.B) {
	body := []byte(simple)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, _, faults := httpapi.Compose(body); faults > 0 {
			b.Fatal(faults)
		}
	}
}

// forgetful takes everything and keeps nothing.
type forgetful struct{ spool.Store }

func (forgetful) Create(context.Context, spool.ID) (spool.Writer, error) {
	return sink{io.Discard}, nil
}

type sink struct{ io.Writer }

func (sink) Commit(context.Context, spool.Commit) error { return nil }
func (sink) Abort() error                               { return nil }
