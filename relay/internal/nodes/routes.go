package nodes

import (
	"context"
	"slices"
	"time"
)

const (
	// wantedFor is how long a route is asked for after it was last looked up.
	wantedFor = time.Minute
	maxAsked  = 1024 // routes
)

// asked is what is known of a route that this relay does not serve.
type asked struct {
	wanted   time.Time // when it was last looked up
	answered time.Time // when it was last asked for; zero before the first answer
	nobody   time.Time // the first of the answers that nobody serves it; zero if somebody does
}

// Elsewhere reports whether another relay serves a route that this one does
// not, or may serve it: nobody does only once that is known for a while, or
// where there is no other relay. It answers by what was last heard.
func (n *Nodes) Elsewhere(name string) bool {
	if n.cfg.Store == nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	a := n.asked[name]
	if a == nil {
		if len(n.asked) >= maxAsked {
			clear(n.asked)
		}
		n.asked[name] = &asked{wanted: now}
		kick(n.look)
		return true
	}
	a.wanted = now
	if a.nobody.IsZero() || now.Sub(a.answered) > 3*n.clocks.every {
		return true
	}
	return n.live != 1 && a.answered.Sub(a.nobody) < n.clocks.every
}

// Announce tells the others at once what routes this relay serves.
func (n *Nodes) Announce() { kick(n.tell) }

func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// announcer returns what tells the others which routes this relay serves, and
// which it does not serve any more.
func (n *Nodes) announcer() func(ctx context.Context) error {
	var told []string
	return func(ctx context.Context) error {
		now := n.cfg.Routes()
		for _, name := range now {
			if _, _, err := n.join(ctx, route+name, n.clocks.routeTTL); err != nil {
				return err
			}
		}
		for _, name := range told {
			if slices.Contains(now, name) {
				continue
			}
			if _, _, err := n.join(ctx, route+name, 0); err != nil {
				return err
			}
		}
		told = now
		return nil
	}
}

// ask learns who serves the routes that were looked up of late.
func (n *Nodes) ask(ctx context.Context) error {
	for _, name := range n.wanted() {
		began := time.Now()
		live, err := n.count(ctx, route+name)
		if err != nil {
			return err
		}
		n.learn(name, live, began)
	}
	return nil
}

// wanted are the routes that were looked up of late. The others are forgotten.
func (n *Nodes) wanted() (names []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, a := range n.asked {
		if time.Since(a.wanted) > wantedFor {
			delete(n.asked, name)
		} else {
			names = append(names, name)
		}
	}
	return names
}

func (n *Nodes) count(ctx context.Context, group string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, n.clocks.wait)
	defer cancel()
	return n.cfg.Store.Live(ctx, group)
}

// learn takes in how many relays serve a route. This one does not.
func (n *Nodes) learn(name string, live int, when time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := n.asked[name]
	if a == nil {
		return
	}
	a.answered = when
	switch {
	case live > 0:
		a.nobody = time.Time{}
	case a.nobody.IsZero():
		a.nobody = when
	}
}
