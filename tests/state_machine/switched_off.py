"""What is left out, with the reason: nothing, once all of issue 10 is mended."""

SWITCHED_OFF: dict[str, str] = {
    "their_add_at_the_next_positions": "4.5: rows at positions of the next manifest count as its own",
    "their_metadata_is_replaced": "4.5: a table whose record is gone takes the next manifest for the first",
    "their_restore_of_the_vectors": "4.5: shard numbers are given a second time, beside failures that have them",
    "their_restore_of_the_failures": "4.5: rows in neither table are not seen, a manifest is complete",
    "their_delete_all": "4.7: a run on a table without rows drops every index",
    "their_text_index": "4.7: `pixlake index` replaces the index `uri_idx` of others",
    "their_add_of_bad_vectors": "4.8: NaN and infinity end in a traceback or in codes that mean nothing",
    "scalar_index_of_a_flag": "2: NOT (flag IS TRUE) finds other rows with an index than without",
    "tables_with_stable_row_ids": "2: deleted rows and values of before come back through indexes",
}
"""Operation, or part of one, by name."""
