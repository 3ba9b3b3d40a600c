package throttle_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/internal/throttle"
)

const rest = 2 * time.Hour

func from(sender string) throttle.Place {
	return throttle.Place{Site: "mx.example", Sender: sender}
}

func TestThreeRefusalsMakeASenderRest(t *testing.T) {
	t.Parallel()
	try(t, func(w *world) {
		w.refused(place, bounce.Reputation)
		w.refused(place, bounce.Reputation)
		w.wantRest(place, 0)
		got := w.refused(place, bounce.Reputation)
		if got == nil || got.Sender != "a.example" || got.Share != 0 ||
			time.Until(got.Until) != rest {
			t.Errorf("%+v", got)
		}
		w.wantRest(place, rest)
	})
}

// One message to many domains of a site is refused as often as there are.
func TestOneMessageCountsOnce(t *testing.T) {
	t.Parallel()
	try(t, func(w *world) {
		id := w.next()
		for id.Seq = range 50 {
			w.Learn(&throttle.Lesson{Place: place, Delivery: id, Class: bounce.Reputation})
		}
		w.wantRest(place, 0)
	})
}

func TestWhatIsTakenTakesRefusalsBack(t *testing.T) {
	t.Parallel()
	try(t, func(w *world) {
		for range 50 {
			w.refused(place, bounce.Reputation)
			w.refused(place, bounce.Reputation)
			w.taken(place)
			w.taken(place)
		}
		w.wantRest(place, 0)
	})
}

func TestOldRefusalsDoNotCount(t *testing.T) {
	t.Parallel()
	try(t, func(w *world) {
		for range 50 {
			w.refused(place, bounce.Reputation)
			time.Sleep(31 * time.Minute)
		}
		w.wantRest(place, 0)
	})
}

func TestTwoSendersMakeTheSiteRest(t *testing.T) {
	t.Parallel()
	try(t, func(w *world) {
		w.begin()
		for range 2 {
			w.refused(from("b.example"), bounce.Reputation)
		}
		w.wantRest(from("b.example"), 0)
		got := w.refused(from("b.example"), bounce.Reputation)
		if got == nil || got.Sender != "" {
			t.Fatalf("%+v", got)
		}
		w.wantRest(from("c.example"), rest)
		w.wantRest(throttle.Place{Site: "other.example", Sender: "a.example"}, 0)
		if time.Until(w.Rest("mx.example", "")) != rest {
			t.Errorf("the site rests until %v", w.Rest("mx.example", ""))
		}
	})
}

// What others send well is not held up by two who do not.
func TestTwoSendersOfManyRestAlone(t *testing.T) {
	t.Parallel()
	try(t, func(w *world) {
		for range 3 {
			for _, sender := range []string{"a.example", "b.example"} {
				w.refused(from(sender), bounce.Reputation)
				w.taken(from("good.example"))
			}
		}
		w.wantRest(from("a.example"), rest)
		w.wantRest(from("b.example"), rest)
		w.wantRest(from("good.example"), 0)
	})
}

func TestRefusedConnectionsMakeTheSiteRest(t *testing.T) {
	t.Parallel()
	try(t, func(w *world) {
		w.early(place, bounce.Reputation)
		w.early(place, bounce.Reputation)
		w.wantRest(place, 0)
		if got := w.early(place, bounce.Reputation); got == nil || got.Sender != "" {
			t.Errorf("%+v", got)
		}
		w.wantRest(from("b.example"), rest)
	})
}

// Whoever owns some domains must not be able to stop a tenant's mail to all
// others, however many sites he makes of them.
func TestSitesOfNoProviderDoNotStopAStreamElsewhere(t *testing.T) {
	t.Parallel()
	try(t, func(w *world) {
		for n := range 50 {
			w.refusedBy("", n%10)
		}
		w.wantRest(throttle.Place{Site: "0.example", Sender: "a.example"}, time.Hour)
		w.wantRest(throttle.Place{Site: "third.example", Sender: "a.example"}, 0)
	})
}

func TestProvidersStopAStreamEverywhere(t *testing.T) {
	t.Parallel()
	try(t, func(w *world) {
		for n := range 20 {
			w.refusedBy("one", n)
		}
		w.wantRest(throttle.Place{Site: "third.example", Sender: "a.example"}, 0)
		for n := range 3 {
			w.refusedBy("other", 20+n)
		}
		w.wantRest(throttle.Place{Site: "third.example", Sender: "a.example"}, time.Hour)
		w.wantRest(throttle.Place{Site: "third.example", Sender: "b.example"}, 0)
	})
}

// refusedBy teaches that one of many sites does not believe the sender.
func (w *world) refusedBy(provider string, site int) {
	p := throttle.Place{Site: fmt.Sprintf("%d.example", site), Sender: "a.example"}
	w.Learn(&throttle.Lesson{
		Place: p, Provider: provider, Delivery: w.next(), Class: bounce.Authentication,
	})
}

func TestOneDeliveryTriesAfterARest(t *testing.T) {
	t.Parallel()
	try(t, func(w *world) {
		w.begin()
		w.refused(place, bounce.Reputation) // had begun before
		time.Sleep(rest)
		first := w.next()
		for range 2 { // asked again, it may still go
			if until := w.until(place, first); !until.IsZero() {
				t.Error("nothing may try")
			}
		}
		w.wantRest(place, 15*time.Second)
		w.Learn(&throttle.Lesson{Place: place, Delivery: first, Taken: true})
		w.wantRest(place, 0)
		w.wantRest(place, 0)
		if list := w.List(); len(list) != 0 {
			t.Errorf("%+v is left", list)
		}
	})
}

func TestRestDoublesWhenTheTryIsRefused(t *testing.T) {
	t.Parallel()
	try(t, func(w *world) {
		begun := w.begin()
		for i, want := range []time.Duration{2 * rest, 4 * rest, 4 * rest} {
			time.Sleep(time.Until(begun.Until))
			w.wantRest(place, 0)
			begun = w.refused(place, bounce.Reputation)
			if begun == nil || begun.Times != i+2 {
				t.Fatalf("%+v", begun)
			}
			w.wantRest(place, want)
		}
	})
}

// What was in time when its kind was refused ends by its age, and so does what
// was not once one has tried since: downtime alone ends nothing.
func TestRefusalSpeaksForWhatWasInTime(t *testing.T) {
	t.Parallel()
	try(t, func(w *world) {
		begun := w.begin()
		early, late := begun.Begun.Add(-time.Second), begun.Begun.Add(time.Second)
		time.Sleep(rest - time.Minute)
		w.wantRefused(early, time.Time{})
		w.wantRefused(late, begun.Begun)
		time.Sleep(time.Minute)
		w.wantRest(place, 0)
		w.wantRefused(early, time.Time{}) // one is trying
		renewed := w.refused(place, bounce.Reputation)
		again := renewed.Until.Add(-2 * rest)
		time.Sleep(time.Minute)
		w.wantRefused(early, again)
		w.wantRefused(late, again)
		w.Lift(renewed.ID)
		w.wantRefused(late, time.Time{})
	})
}

// wantRefused fails the test unless the refusal that speaks for a delivery with
// that end is this one.
func (w *world) wantRefused(expires, want time.Time) {
	w.t.Helper()
	if h := w.Hold(place, w.next(), expires); !h.Refused.Equal(want) {
		w.t.Errorf("refused at %v, want %v", h.Refused, want)
	}
}

func TestNextOneTriesWhenNothingWasLearned(t *testing.T) {
	t.Parallel()
	try(t, func(w *world) {
		w.begin()
		time.Sleep(rest)
		first := w.next()
		w.until(place, first)
		w.wantRest(place, 15*time.Second)
		w.Learn(&throttle.Lesson{Place: place, Delivery: first, Class: bounce.UnknownRecipient})
		second := w.next()
		if until := w.until(place, second); !until.IsZero() {
			t.Error("the next one may not try")
		}
		w.wantRest(place, 15*time.Second)
		time.Sleep(5 * time.Minute) // it never comes back
		w.wantRest(place, 0)
	})
}

func TestLiftedAtOnceAndForgotten(t *testing.T) {
	t.Parallel()
	try(t, func(w *world) {
		begun := w.begin()
		w.early(place, bounce.RateLimited)
		if got := w.Lift("unknown"); got != nil {
			t.Errorf("%+v", got)
		}
		if got := w.Lift(begun.ID); got == nil || got.ID != begun.ID {
			t.Errorf("%+v", got)
		}
		w.wantRest(place, 0)
		w.wantShare(.5)
		for range 3 { // the refusals of before do not count for the site
			w.refused(from("b.example"), bounce.Reputation)
		}
		w.wantRest(from("c.example"), 0)
		if w.Lift(begun.ID) != nil || len(w.List()) != 2 {
			t.Errorf("%+v", w.List())
		}
	})
}

func TestThrottlesAreBounded(t *testing.T) {
	t.Parallel()
	try(t, func(w *world) {
		at := func(i int) throttle.Place {
			return throttle.Place{Site: fmt.Sprint(i), Sender: "a.example"}
		}
		for i := range 1200 {
			time.Sleep(time.Millisecond)
			w.early(at(i), bounce.RateLimited)
		}
		if n := len(w.List()); n != 1024 {
			t.Errorf("%d throttles", n)
		}
		if w.Slower("0", "") != 1 || w.Slower("1199", "") != .5 {
			t.Error("those that end first did not make room")
		}
		for i := range 2200 { // and counts, of which each makes two
			time.Sleep(time.Millisecond)
			w.refused(at(i), bounce.Reputation)
		}
		for range 2 {
			w.refused(at(2199), bounce.Reputation)
			w.refused(at(0), bounce.Reputation)
		}
		w.wantRest(at(2199), rest)
		w.wantRest(at(0), 0)
	})
}

func TestManyLearnAtOnce(t *testing.T) {
	t.Parallel()
	th := throttle.New(quiet())
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			w := &world{Throttles: th, t: t, n: 1000 * i}
			for range 200 {
				w.refused(place, bounce.Reputation)
				w.early(place, bounce.RateLimited)
				w.taken(from("b.example"))
				w.until(place, w.next())
				w.Slower(place.Site, "")
				for _, x := range w.List() {
					w.Lift(x.ID)
				}
			}
		})
	}
	all.Wait()
}
