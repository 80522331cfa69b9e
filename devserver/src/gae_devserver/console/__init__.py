"""The State API: shows and changes queues, entities and clock. Imports all below."""
