// Package splitmix gives tests numbers that look drawn and are the same everywhere.
package splitmix

// Uniform is the i-th splitmix64 number of a seed, in [0, 1).
func Uniform(seed, i uint64) float64 {
	z := seed + (i+1)*0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	z ^= z >> 31
	return float64(z>>11) / (1 << 53)
}
