package pgspool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	notifyEvery = 25 * time.Millisecond // at most: it takes a lock of the whole server
	notifyLimit = 5 * time.Second
	listenAgain = 5 * time.Second // after a failure
)

// channel is that of the notifications of a schema.
func (n schemaName) channel() string {
	sum := sha256.Sum256([]byte(n))
	return "postern_" + hex.EncodeToString(sum[:8])
}

// teller tells other processes that there is news, at most every 25
// milliseconds.
type teller struct {
	mu     sync.Mutex
	last   time.Time
	later  bool      // a notification is to come
	since  time.Time // the oldest that it is to tell of
	events bool      // it is to tell of events
}

// now reports whether to tell now. If not, f is called when it is time to, once
// for all that have asked meanwhile. since is when the oldest row is due, as
// far as it is not to come.
func (n *teller) now(since time.Time, events bool, f func(since time.Time, events bool)) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.later {
		n.since, n.events = earlier(n.since, since), n.events || events
		return false
	}
	wait := time.Until(n.last.Add(notifyEvery))
	if wait <= 0 {
		n.last = time.Now()
		return true
	}
	n.later, n.since, n.events = true, since, events
	time.AfterFunc(wait, func() {
		n.mu.Lock()
		n.later, n.last = false, time.Now()
		since, events := n.since, n.events
		n.mu.Unlock()
		f(since, events)
	})
	return false
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

const notifyText = "SELECT pg_notify($1, $2)"

// notify tells other processes of what the transaction has written.
func (t *transaction) notify(list *calls) {
	if (len(t.due) > 0 || t.logged) && t.teller.now(t.now, t.logged, t.notifyLater) {
		list.add(nil, notifyText, t.channel(), t.news(t.now, t.logged))
	}
}

func (s *Store) notifyLater(since time.Time, events bool) {
	ctx, cancel := context.WithTimeout(s.ctx, notifyLimit)
	defer cancel()
	// Or they find it by themselves.
	s.exec(ctx, s.pool, notifyText, s.channel(), s.news(since, events))
}

// withEvents closes news that there are events.
const withEvents = " events"

// news says who tells, since when there may be something, and whether there are
// events: a transaction can take long, and its rows are due from its beginning
// on.
func (s *Store) news(since time.Time, events bool) string {
	text := s.node.String() + " " + strconv.FormatInt(since.UnixMicro(), 10)
	if events {
		text += withEvents
	}
	return text
}

// since reads what news has written; false for news of one's own.
func (s *Store) since(news string) (since time.Time, events, ok bool) {
	news, events = strings.CutSuffix(news, withEvents)
	node, micro, _ := strings.Cut(news, " ")
	n, err := strconv.ParseInt(micro, 10, 64)
	if err != nil {
		return time.Now(), true, true
	}
	return time.UnixMicro(n), events, node != s.node.String()
}

// listenOn waits for what other processes tell, until the store ends.
func (s *Store) listenOn() {
	for s.ctx.Err() == nil {
		err := s.listen()
		if s.ctx.Err() != nil {
			return
		}
		s.log.Warn("no notifications for now", "err", err)
		s.watch.news()
		select {
		case <-s.ctx.Done():
		case <-time.After(listenAgain):
		}
	}
}

// listen waits on a connection that it takes out of the pool for good.
func (s *Store) listen() error {
	pooled, err := s.pool.Acquire(s.ctx)
	if err != nil {
		return err
	}
	conn := pooled.Hijack()
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), notifyLimit)
		defer cancel()
		conn.Close(ctx)
	}()
	if _, err := s.exec(s.ctx, conn, "LISTEN "+s.channel()); err != nil {
		return err
	}
	s.watch.news() // what came before
	s.sequencer.news()
	for {
		n, err := conn.WaitForNotification(s.ctx)
		if err != nil {
			return err
		}
		since, events, ok := s.since(n.Payload)
		if !ok {
			continue
		}
		s.watch.newsSince(since)
		if events {
			s.sequencer.news()
		}
	}
}
