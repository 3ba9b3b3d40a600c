package throttle_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/internal/throttle"
)

// Each begin, renewal and end has a line, and nothing else has.
func TestLogTellsOfBeginAndEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		w := &world{Throttles: throttle.New(slog.New(slog.NewTextHandler(&b, nil))), t: t}
		take := func(want ...string) {
			t.Helper()
			got := b.String()
			b.Reset()
			for _, s := range want {
				if !strings.Contains(got, s) {
					t.Errorf("no %q in %q", s, got)
				}
			}
			if strings.Count(got, "\n") != min(len(want), 1) {
				t.Errorf("the log: %q", got)
			}
		}
		w.refused(place, bounce.Reputation)
		w.taken(place)
		take()
		slow := &throttle.Lesson{
			Place: place, Delivery: w.next(), Class: bounce.RateLimited, Early: true,
			Cause: throttle.Cause{Host: "mx.example [192.0.2.1]:25", Code: 421, Text: "Too fast"},
		}
		w.Learn(slow)
		take("level=WARN", "slowed down", "class=rate-limited", "site=mx.example", "pause=50m0s",
			"code=421", `reply="Too fast"`, "share=0.5", "throttle=")
		w.early(place, bounce.RateLimited)
		take()
		time.Sleep(51 * time.Minute)
		w.wantShare(1)
		take("level=INFO", "throttle ended", `reason="its time is over"`)
		lifted := w.begin()
		take("level=WARN", "its mail rests", "class=reputation", "sender=a.example", "pause=2h0m0s")
		w.Lift(lifted.ID)
		take("level=INFO", "throttle ended", `reason="it was lifted"`, "throttle="+lifted.ID)
		w.begin()
		take("its mail rests")
		time.Sleep(rest)
		w.taken(place)
		take(`reason="a delivery was taken"`)
	})
}
