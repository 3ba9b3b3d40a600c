package spooltest

import "github.com/postern-mail/postern/relay/spool"

// These are the cases that take two nodes.
const (
	expectUnasked = "ExpectUnasked"
	expectCloses  = "ExpectCloses"
)

func expectPairCases() []testCase {
	return []testCase{
		{expectUnasked, hasExpecter, (*suite).expectUnasked},
		{expectCloses, hasExpecter, (*suite).expectCloses},
	}
}

// expectUnasked has another node hand out what the one that has expected it
// does not ask for: it has never asked for anything.
func (s *suite) expectUnasked() {
	s.expect(all())
	for range 3 {
		s.commitOwn(s.delivery("a", s.now), s.delivery("b", s.now))
	}
	s.finishAll(s.gather(s.other(), spool.LeaseRequest{}, 6))
	s.wantStats(0, 0, 0)
}

// expectCloses has another node hand out what waits in one that ends.
func (s *suite) expectCloses() {
	own, other := s.own(), s.other()
	s.none()
	s.expect(all())
	for range 3 {
		s.commitOwn(s.delivery("a", s.now), s.delivery("b", s.now))
	}
	s.ok(own.Close())
	own.(spool.Expecter).Expect(all())
	s.Store = other
	s.finishAll(s.gather(other, spool.LeaseRequest{}, 6))
	s.wantStats(0, 0, 0)
}
