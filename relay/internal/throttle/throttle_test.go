package throttle_test

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/internal/throttle"
	"github.com/postern-mail/postern/relay/spool"
)

// world has throttles, and the messages that teach them.
type world struct {
	*throttle.Throttles
	t *testing.T
	n int
}

// try runs a test by a clock of its own.
func try(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(&world{Throttles: throttle.New(quiet()), t: t})
	})
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

var place = throttle.Place{Site: "mx.example", Sender: "a.example"}

// next is a delivery of another message.
func (w *world) next() spool.DeliveryID {
	w.n++
	var id spool.DeliveryID
	copy(id.Message[:], fmt.Sprintf("%016d", w.n))
	return id
}

// refused teaches a refusal of another message.
func (w *world) refused(p throttle.Place, c bounce.Class) *throttle.Throttle {
	return w.Learn(&throttle.Lesson{Place: p, Delivery: w.next(), Class: c})
}

func (w *world) early(p throttle.Place, c bounce.Class) *throttle.Throttle {
	return w.Learn(&throttle.Lesson{Place: p, Delivery: w.next(), Class: c, Early: true})
}

func (w *world) taken(p throttle.Place) {
	w.Learn(&throttle.Lesson{Place: p, Delivery: w.next(), Taken: true})
}

// until is until when a delivery has to wait.
func (w *world) until(p throttle.Place, id spool.DeliveryID) time.Time {
	return w.Hold(p, id, time.Now().Add(time.Hour)).Until
}

// rests is for how long a delivery has to wait.
func (w *world) rests(p throttle.Place) time.Duration {
	until := w.until(p, w.next())
	if until.IsZero() {
		return 0
	}
	return time.Until(until)
}

func (w *world) wantRest(p throttle.Place, want time.Duration) {
	w.t.Helper()
	if got := w.rests(p); got != want {
		w.t.Errorf("%+v rests for %v, want %v", p, got, want)
	}
}

func (w *world) wantShare(want float64) {
	w.t.Helper()
	if got := w.Slower(place.Site, place.Source); got != want {
		w.t.Errorf("the share is %v, want %v", got, want)
	}
}

// begin makes the place rest for its reputation.
func (w *world) begin() *throttle.Throttle {
	w.t.Helper()
	w.refused(place, bounce.Reputation)
	w.refused(place, bounce.Reputation)
	got := w.refused(place, bounce.Reputation)
	if got == nil {
		w.t.Fatal("three refusals begin nothing")
	}
	return got
}

func TestRateIsHalvedAndComesBack(t *testing.T) {
	t.Parallel()
	try(t, func(w *world) {
		got := w.early(place, bounce.RateLimited)
		if got == nil || got.Share != .5 || time.Until(got.Until) != 50*time.Minute {
			t.Fatalf("%+v", got)
		}
		for _, step := range []struct {
			wait  time.Duration
			share float64
		}{
			{0, .5},
			{30*time.Minute - 1, .5},
			{1, .6},
			{5*time.Minute - 1, .6},
			{1, .7},
			{10 * time.Minute, .9},
			{5*time.Minute - 1, .9},
			{1, 1},
		} {
			time.Sleep(step.wait)
			w.wantShare(step.share)
		}
		if list := w.List(); len(list) != 0 {
			t.Errorf("%+v is left", list)
		}
		w.wantRest(place, 0)
	})
}

func TestRateIsHalvedAgainAfterAWhileOnly(t *testing.T) {
	t.Parallel()
	try(t, func(w *world) {
		first := w.early(place, bounce.RateLimited)
		time.Sleep(5*time.Minute - 1)
		if w.early(place, bounce.RateLimited) != nil {
			t.Error("halved twice at once")
		}
		time.Sleep(time.Nanosecond)
		again := w.early(place, bounce.RateLimited)
		if again == nil || again.ID != first.ID || again.Share != .25 || again.Times != 2 {
			t.Fatalf("%+v", again)
		}
		for range 10 {
			time.Sleep(5 * time.Minute)
			w.early(place, bounce.RateLimited)
		}
		w.wantShare(.06)
		time.Sleep(45 * time.Minute) // a fourth step up
		w.wantShare(.46)
		w.early(place, bounce.RateLimited)
		w.wantShare(.23)
	})
}

// A recipient may get mail at too high a rate; that is not the site's.
func TestRateOfOneRecipientIsNotTheSites(t *testing.T) {
	t.Parallel()
	try(t, func(w *world) {
		for range 20 {
			if w.refused(place, bounce.RateLimited) != nil {
				t.Fatal("slower, while as much is taken")
			}
			w.taken(place)
		}
		w.wantShare(1)
		for range 2 {
			w.refused(place, bounce.RateLimited)
		}
		w.wantShare(1)
		w.refused(place, bounce.RateLimited)
		w.wantShare(.5)
	})
}

func TestOthersAreNotHeldUp(t *testing.T) {
	t.Parallel()
	others := map[bounce.Class][]throttle.Place{
		bounce.RateLimited: {
			{Site: "other.example", Sender: "a.example"},
			{Site: "mx.example", Sender: "a.example", Source: "192.0.2.1"},
		},
		bounce.Reputation: {
			{Site: "other.example", Sender: "a.example"},
			{Site: "mx.example", Sender: "a.example", Source: "192.0.2.1"},
			{Site: "mx.example", Sender: "b.example"},
			{Site: "mx.example", Sender: throttle.NullSender},
		},
		bounce.Authentication: {
			{Site: "other.example", Sender: "a.example"},
			{Site: "mx.example", Sender: "a.example", Stream: "orders"},
			{Site: "mx.example", Sender: "b.example"},
		},
	}
	for class, places := range others {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			try(t, func(w *world) {
				for range 3 {
					w.refused(place, class)
				}
				if w.rests(place) == 0 && w.Slower(place.Site, place.Source) == 1 {
					t.Error("nothing was done")
				}
				for _, p := range places {
					w.wantRest(p, 0)
					if w.Slower(p.Site, p.Source) < 1 {
						t.Errorf("%+v is slower", p)
					}
				}
			})
		})
	}
}

// Whatever else is refused is not for throttles.
func TestOtherClassesDoNothing(t *testing.T) {
	t.Parallel()
	try(t, func(w *world) {
		for _, c := range append(bounce.Classes(), "") {
			switch c {
			case bounce.RateLimited, bounce.Reputation, bounce.Authentication:
				continue
			}
			for range 10 {
				if got := w.early(place, c); got != nil {
					t.Errorf("%s: %+v", c, got)
				}
			}
		}
		w.wantRest(place, 0)
		w.wantShare(1)
	})
}
