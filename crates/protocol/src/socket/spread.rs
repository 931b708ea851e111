//! How one Rust value stands for the arguments of an event: a tuple (or an array of fixed size) is all of them, `()` none, and
//! everything else, a `Vec` or a tuple struct too, is one.

use std::convert::Infallible;
use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, IntoDeserializer, SeqAccess, Visitor};
use serde::ser::Impossible;
use serde::{Deserializer, Serialize, Serializer};

use super::literal;

/// How many arguments a value stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Nothing,
    One,
    Tuple,
}

impl Shape {
    /// Asks the value by letting it begin to serialise itself: its first call says what it is, and ends it.
    pub(super) fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        let Err(Found(shape)) = value.serialize(Probe);
        shape
    }
}

/// A serializer that ends at the first call.
struct Probe;

/// What the probe found out, as the error that ends it.
#[derive(Debug)]
struct Found(Shape);

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Found {}

impl serde::ser::Error for Found {
    // A value that refuses to be serialised will say so again when it is its turn.
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(Shape::One)
    }
}

type Never = Impossible<Infallible, Found>;

macro_rules! one_argument {
    ($($method:ident($($argument:ty),*) -> $ok:ty;)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<$ok, Found> {
            Err(Found(Shape::One))
        })*
    };
}

impl Serializer for Probe {
    type Ok = Infallible;
    type Error = Found;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    fn serialize_unit(self) -> Result<Infallible, Found> {
        Err(Found(Shape::Nothing))
    }

    fn serialize_tuple(self, len: usize) -> Result<Never, Found> {
        Err(Found(if len == 0 {
            Shape::Nothing
        } else {
            Shape::Tuple
        }))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Infallible, Found> {
        Err(Found(Shape::One))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<Infallible, Found> {
        Err(Found(Shape::One))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Infallible, Found> {
        Err(Found(Shape::One))
    }

    one_argument! {
        serialize_bool(bool) -> Infallible;
        serialize_i8(i8) -> Infallible;
        serialize_i16(i16) -> Infallible;
        serialize_i32(i32) -> Infallible;
        serialize_i64(i64) -> Infallible;
        serialize_i128(i128) -> Infallible;
        serialize_u8(u8) -> Infallible;
        serialize_u16(u16) -> Infallible;
        serialize_u32(u32) -> Infallible;
        serialize_u64(u64) -> Infallible;
        serialize_u128(u128) -> Infallible;
        serialize_f32(f32) -> Infallible;
        serialize_f64(f64) -> Infallible;
        serialize_char(char) -> Infallible;
        serialize_str(&str) -> Infallible;
        serialize_bytes(&[u8]) -> Infallible;
        serialize_none() -> Infallible;
        serialize_unit_struct(&'static str) -> Infallible;
        serialize_unit_variant(&'static str, u32, &'static str) -> Infallible;
        serialize_seq(Option<usize>) -> Never;
        serialize_tuple_struct(&'static str, usize) -> Never;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Never;
        serialize_map(Option<usize>) -> Never;
        serialize_struct(&'static str, usize) -> Never;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Never;
    }
}

/// Reads a value from the text of a JSON array. As in a JavaScript function, arguments that are missing are `null` and those that nobody
/// asks for are ignored.
pub(super) struct SpreadDeserializer<'de> {
    array: &'de str,
    /// Items in front that are not arguments: the name of the event.
    skipped: usize,
}

impl<'de> SpreadDeserializer<'de> {
    pub(super) fn after_name(array: &'de str) -> Self {
        Self { array, skipped: 1 }
    }

    pub(super) fn all(array: &'de str) -> Self {
        Self { array, skipped: 0 }
    }

    fn first(&self) -> serde_json::Deserializer<serde_json::de::StrRead<'de>> {
        let mut rest = literal::split_first(self.array);
        for _ in 0..self.skipped {
            rest = rest.and_then(|(_, tail)| literal::split_item(tail));
        }
        serde_json::Deserializer::from_str(rest.map_or("null", |(first, _)| first))
    }
}

macro_rules! from_first {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            self.first().$method(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for SpreadDeserializer<'de> {
    type Error = serde_json::Error;

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        serde_json::Deserializer::from_str(self.array).deserialize_seq(ArgumentsVisitor {
            skipped: self.skipped,
            visitor,
        })
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.first().deserialize_unit_struct(name, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.first().deserialize_newtype_struct(name, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.first().deserialize_tuple_struct(name, len, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.first().deserialize_struct(name, fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.first().deserialize_enum(name, variants, visitor)
    }

    from_first! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_option
        deserialize_seq deserialize_map deserialize_identifier deserialize_ignored_any
    }
}

/// Hands the items of an array to the visitor of a tuple.
struct ArgumentsVisitor<V> {
    skipped: usize,
    visitor: V,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for ArgumentsVisitor<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<V::Value, A::Error> {
        for _ in 0..self.skipped {
            items.next_element::<IgnoredAny>()?;
        }
        let mut arguments = PaddedItems {
            items,
            ended: false,
        };
        let value = self.visitor.visit_seq(&mut arguments)?;
        while !arguments.ended {
            arguments.ended = arguments.items.next_element::<IgnoredAny>()?.is_none();
        }
        Ok(value)
    }
}

/// Items with as many `null` behind them as are asked for.
struct PaddedItems<A> {
    items: A,
    ended: bool,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for PaddedItems<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let mut seed = Some(seed);
        if !self.ended {
            if let Some(value) = self.items.next_element_seed(LentSeed(&mut seed))? {
                return Ok(Some(value));
            }
            self.ended = true;
        }
        seed.map(|seed| seed.deserialize(().into_deserializer()))
            .transpose()
    }
}

/// A seed that stays with its owner when there is no item to use it on.
struct LentSeed<'a, S>(&'a mut Option<S>);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for LentSeed<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let seed = self
            .0
            .take()
            .ok_or_else(|| serde::de::Error::custom("one item asks for two seeds"))?;
        seed.deserialize(deserializer)
    }
}
