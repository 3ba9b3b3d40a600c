package delivery

// Lookups are what StandardResolver asks.
type Lookups = lookups

// StandardOf is StandardResolver for other lookups.
func StandardOf(of Lookups) Resolver { return standard{of} }
