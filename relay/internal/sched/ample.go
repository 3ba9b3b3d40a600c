package sched

import "github.com/postern-mail/postern/relay/spool"

// appendAmple appends the keys of streams of which enough waits for the site,
// so that the others are asked for. A site with very many keys is left out.
func (r *site) appendAmple(keys []spool.Key, enough int) []spool.Key {
	if len(r.keys) > aheadMost {
		return keys
	}
	for name, q := range r.queues {
		if name.stream == "" || len(q.list) < max(enough, q.weight) {
			continue
		}
		for _, e := range r.keys {
			keys = append(
				keys, spool.Key{Route: e.key.Route, Domain: e.key.Domain, Stream: name.stream},
			)
		}
	}
	return keys
}

// mayTakeOthers reports whether something of other streams may wait for a site
// beside what does.
func (r *site) mayTakeOthers() bool {
	if r.waiting == 0 || r.waiting >= r.ahead() || len(r.keys) > aheadMost {
		return false
	}
	for name := range r.queues {
		if name.stream == "" { // a store leaves all streams out, or none
			return false
		}
	}
	return true
}
