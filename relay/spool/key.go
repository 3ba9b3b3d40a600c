package spool

// Key is what deliveries are scheduled by: those with the same one share their
// fairness and their limits. A store groups by it.
type Key struct {
	// Route names where it goes. Only the relay understands it.
	Route string
	// Domain is that of the recipients where the route resolves it (MX), and
	// empty where every domain goes the same way.
	Domain string
	// Stream is the application's kind of mail or tenant. May be empty.
	Stream string
}
