"""One type for a column whose files differ: the narrowest in which every value of theirs stays what it is."""

import pyarrow as pa

_EXACT_BITS = {16: 11, 32: 24, 64: 53}
"""Width of a float -> bits of the whole numbers that all have a float of their own (IEEE 754)."""
_ALIKE = (
    lambda kind: pa.types.is_integer(kind) or pa.types.is_floating(kind),
    pa.types.is_timestamp,
    pa.types.is_duration,
    pa.types.is_date,
    pa.types.is_time,
    lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind),
)
"""Tests that both types pass where one can be widened to the other."""
_MOST_DIGITS = 76
"""Of Arrow's decimals."""
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


class TypesDifferError(ValueError):
    """No type holds the values of both."""


def common_type(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """The type for columns of both types. Raises `TypesDifferError` where there is none.

    Nulls go with anything, texts of all types are `string`, a dictionary is what it is of. Types do not always say
    whether every value fits: see `may_change`.
    """
    first, second = _plain(first), _plain(second)
    if first == second or pa.types.is_null(second):
        return first
    if pa.types.is_null(first):
        return second
    if pa.types.is_decimal(first) or pa.types.is_decimal(second):
        return _common_decimal(first, second)
    if any(test(first) and test(second) for test in _ALIKE):
        return _widened(first, second)
    if any(test(first) and test(second) for test in _LISTS):
        return _common_list(first, second)
    if pa.types.is_struct(first) and pa.types.is_struct(second):
        return _common_struct(first, second)
    raise TypesDifferError


def may_change(kind: pa.DataType, common: pa.DataType) -> bool:
    """Whether a value may not fit into the common type: a cast of the values themselves then tells."""
    kind = _plain(kind)
    if pa.types.is_integer(kind) and pa.types.is_floating(common):
        return bool(kind.bit_width > _EXACT_BITS[common.bit_width])
    if pa.types.is_integer(kind) and pa.types.is_integer(common):
        return bool(pa.types.is_uint64(kind) and kind != common)
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        return bool(kind != common)
    return any(
        may_change(kind.field(at).type, common.field(at).type) for at in range(min(kind.num_fields, common.num_fields))
    )


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    return pa.string() if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) else kind


def _widened(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    try:
        schemas = [pa.schema([("x", first)]), pa.schema([("x", second)])]
        return pa.unify_schemas(schemas, promote_options="permissive").field("x").type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        # Timestamps with and without a zone.
        raise TypesDifferError from None


def _common_decimal(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """Room for all digits of both. What pyarrow widens to has less: it then casts no integer to it, nor large values
    where the digits would be more than 38."""
    (whole, scale), (other_whole, other_scale) = _digits(first), _digits(second)
    whole, scale = max(whole, other_whole), max(scale, other_scale)
    if whole + scale > _MOST_DIGITS:
        raise TypesDifferError
    return pa.decimal128(whole + scale, scale) if whole + scale <= 38 else pa.decimal256(whole + scale, scale)


def _digits(kind: pa.DataType) -> tuple[int, int]:
    """(digits before the point, digits behind it). Raises `TypesDifferError` for what is no decimal and no integer."""
    if pa.types.is_decimal(kind):
        return kind.precision - kind.scale, kind.scale
    if pa.types.is_integer(kind):
        return len(str(2 ** (kind.bit_width - pa.types.is_signed_integer(kind)))), 0
    raise TypesDifferError


def _common_list(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    item = _common_field(first.value_field, second.value_field)
    if pa.types.is_fixed_size_list(first):
        if first.list_size != second.list_size:
            raise TypesDifferError
        return pa.list_(item, first.list_size)
    return pa.large_list(item) if pa.types.is_large_list(first) else pa.list_(item)


def _common_struct(first: pa.StructType, second: pa.StructType) -> pa.DataType:
    if [field.name for field in first] != [field.name for field in second]:
        raise TypesDifferError
    return pa.struct([_common_field(*pair) for pair in zip(first, second, strict=True)])


def _common_field(first: pa.Field, second: pa.Field) -> pa.Field:
    field = first.with_nullable(first.nullable or second.nullable)
    return field.with_type(common_type(first.type, second.type))
