package admin_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/admin"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// slowed is a relay that was told that it is too fast, by a host whose words
// are markup.
func slowed(t *testing.T) *relay.Relay {
	t.Helper()
	told := make(chan struct{}, 1)
	r := newRelay(t, relay.Config{
		Hostname: "relay.example.com", Spool: memspool.New(nil),
		Dial: func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				_, _ = io.WriteString(there, "421 4.7.28 <b>Too many</b> connections\r\n")
				_ = there.Close()
			}()
			return here, nil
		},
		SendConnectors: []*connector.SendConnector{{
			Name: "out", AddressSpaces: connector.AllDomains(),
			NextHop: connector.NextHop{Hosts: []string{"192.0.2.1"}},
		}},
		Events: func(e event.Event) {
			if e.Kind == event.Throttled {
				told <- struct{}{}
			}
		},
	})
	go func() { _ = r.Run(context.WithoutCancel(t.Context())) }()
	_, err := r.Submit(t.Context(), &relay.Message{
		From: "app@example.com", To: []string{"bob@example.net"},
		Content: strings.NewReader("Subject: Hello\n\nHello\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-told:
	case <-time.After(time.Minute):
		t.Fatal("nothing is throttled")
	}
	return r
}

func liftForm(id string, headers ...string) *http.Request {
	return operateForm("/lift", id, headers...)
}

func liftJSON(id string) *http.Request {
	body, _ := json.Marshal(map[string]string{"id": id})
	return request(http.MethodPost, "/lift", string(body), "Content-Type", "application/json")
}

func TestThrottlesAreShownAndLifted(t *testing.T) {
	for name, lift := range map[string]struct {
		request func(id string) *http.Request
		code    int
	}{
		"form": {func(id string) *http.Request { return liftForm(id) }, 303},
		"JSON": {liftJSON, 204},
	} {
		t.Run(name, func(t *testing.T) {
			r := slowed(t)
			h := newHandler(t, admin.Config{Relay: r, Authorize: open, Operate: open})
			page := do(h, request(http.MethodGet, "/", "")).Body.String()
			checkMarkup(t, page)
			id := r.Throttles()[0].ID
			for _, want := range []string{
				"send/out", "50 % of the rate", "rate-limited", "421 4.7.28 &lt;b&gt;Too many",
				`<input type="hidden" name="id" value="` + id + `">`, "Lift this throttle",
			} {
				if !strings.Contains(page, want) {
					t.Errorf("no %q in %s", want, page)
				}
			}
			if w := do(h, lift.request(id)); w.Code != lift.code {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if list := r.Throttles(); len(list) != 0 {
				t.Errorf("%+v is left", list)
			}
			if w := do(h, lift.request(id)); w.Code != 404 {
				t.Errorf("again: %d %s", w.Code, w.Body)
			}
		})
	}
}

func TestThrottlesInTheStatus(t *testing.T) {
	r := slowed(t)
	h := newHandler(t, admin.Config{Relay: r, Authorize: open})
	var got struct {
		Sites struct {
			Items []struct {
				Name    string
				Share   float64
				Failure struct{ Class, Text string }
			}
		}
		Throttles struct {
			Items []struct {
				ID, Class, Site string
				Share           float64
				Until           time.Time
				Code            int
			}
		}
	}
	w := do(h, request(http.MethodGet, "/status", ""))
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if s := got.Sites.Items; len(s) != 1 || s[0].Name != "send/out" || s[0].Share != .5 ||
		s[0].Failure.Class != "rate-limited" {
		t.Errorf("sites %+v", s)
	}
	if l := got.Throttles.Items; len(l) != 1 || l[0].ID != r.Throttles()[0].ID ||
		l[0].Class != "rate-limited" || l[0].Site != "send/out" || l[0].Code != 421 ||
		l[0].Until.Before(time.Now()) {
		t.Errorf("throttles %+v", l)
	}
}

// Whoever may look may not change anything, and pages of other sites may not
// do it in an operator's name.
func TestWhoMayNotLift(t *testing.T) {
	r := slowed(t)
	id := r.Throttles()[0].ID
	looks := newHandler(t, admin.Config{Relay: r, Authorize: open})
	acts := newHandler(t, admin.Config{Relay: r, Authorize: open, Operate: open})
	if page := do(looks, request(http.MethodGet, "/", "")).Body.String(); strings.Contains(
		page, "Lift this") {
		t.Error("the page offers what is refused")
	}
	for name, tt := range map[string]struct {
		h       http.Handler
		request *http.Request
		code    int
	}{
		"who may look":         {looks, liftForm(id), 403},
		"who may look, JSON":   {looks, liftJSON(id), 403},
		"another site":         {acts, liftForm(id, "Sec-Fetch-Site", "cross-site"), 403},
		"another origin":       {acts, liftForm(id, "Origin", "https://attacker.example"), 403},
		"an origin that hides": {acts, liftForm(id, "Origin", "null"), 403},
		"GET":                  {acts, request(http.MethodGet, "/lift?id="+id, ""), 405},
		"no content type":      {acts, request(http.MethodPost, "/lift", "id="+id), 415},
		"no id":                {acts, liftForm(""), 400},
		"another field": {acts, request(http.MethodPost, "/lift", "id="+id+"&all=1",
			"Content-Type", "application/x-www-form-urlencoded"), 400},
		"twice": {acts, request(http.MethodPost, "/lift", "id="+id+"&id=x",
			"Content-Type", "application/x-www-form-urlencoded"), 400},
		"no object": {acts, request(http.MethodPost, "/lift", "[]",
			"Content-Type", "application/json"), 400},
	} {
		if w := do(tt.h, tt.request); w.Code != tt.code {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if len(r.Throttles()) != 1 {
		t.Error("it was lifted")
	}
}
