package policy

// MaxAbandoned is for tests of what does not return.
const MaxAbandoned = maxAbandoned
