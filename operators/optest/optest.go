// Package optest holds the laws that every operator obeys, as one test a family
// of operators calls ([TestFamily]), and a way to run an operator over rows
// written as text ([Run]).
package optest
