package auth

import "crypto/sha256"

// Hold takes every worker and returns how to give them back.
func (h *Hasher) Hold() (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.idle
	h.idle = 0
	return func() {
		for range n {
			h.end(newcomer)
		}
	}
}

// Idle returns how many workers are free and how many calls and sources wait.
func (h *Hasher) Idle() (idle, queued, sources int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.lanes {
		queued += l.waiting
		sources += len(l.queues) + len(l.circle)
	}
	return h.idle, queued, sources + h.suspects
}

// ParseHtpasswd returns the number of users in data and the hash that an
// unknown user is compared with.
func ParseHtpasswd(name string, data []byte, nobody string) (n int, hash string, err error) {
	u, err := parseHtpasswd(name, data, NewHasher(nil), false)
	if err != nil {
		return 0, "", err
	}
	return len(u.byName), u.decoy(sha256.Sum256([]byte(nobody))).hash, nil
}

// Waiting returns how many calls wait or are under way.
func (t *Throttle) Waiting() (waiting, running int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, row := range t.sources.rows {
		for _, f := range row {
			running += int(f.running) + int(f.waiting)
		}
	}
	for _, w := range t.wider {
		for _, row := range w.table.rows {
			for _, f := range row {
				running += int(f.running) + int(f.waiting)
			}
		}
	}
	for _, row := range t.pairs.rows {
		for _, f := range row {
			running += int(f.running)
		}
	}
	return t.waiting, running
}

// SCRAMKeys are those of [NewSCRAMKeys] with a given salt and count.
func SCRAMKeys(password string, salt []byte, iterations int) (string, error) {
	return scramKeys(password, salt, iterations)
}

// SetNonce makes s use the nonce of a test vector.
func (s *Server) SetNonce(nonce string) { s.nonce = func() string { return nonce } }

// As returns c as a Throttle passes it on: of a "regular", a newcomer, or one
// who is "doubtful" or "suspect".
func As(c Proof, who string) Proof {
	c.standing = map[string]standing{
		"regular": regular, "doubtful": doubtful, "suspect": suspect,
	}[who]
	return c
}

// Forget makes id one that no Keyring has made.
func Forget(id *Identity) {
	if id != nil {
		id.basis = nil
	}
}
