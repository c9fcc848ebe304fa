//! The one macro that declares a table's keys. A declaration is at once the structure that is read, the entry of the
//! table of keys that the reference and the JSON Schema are made of, and the text that explains the key: nothing is said
//! twice, so nothing can drift.

/// Declares a table. Each key is `required`, `optional` or has a `default` (as TOML); its documentation comment goes to
/// the reference. `later` names keys of later versions, which are refused with a better text than a typo.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $name:ident {
            $( $(#[doc = $doc:literal])+ $mode:ident $key:ident : $type:ty $(= $default:literal)?; )*
        }
        $(later [$($later:literal),* $(,)?])?
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Default)]
        pub(crate) struct $name {
            $( $(#[doc = $doc])+ pub(crate) $key: $crate::config::section::field!($mode $type), )*
        }

        impl $crate::config::walk::Shape for $name {
            fn kind() -> $crate::config::walk::Kind {
                $crate::config::walk::Kind::Table($crate::config::walk::Section {
                    keys: vec![$( $crate::config::walk::Key {
                        name: $crate::config::section::key_name(stringify!($key)),
                        required: $crate::config::section::required!($mode),
                        default: $crate::config::section::default_text!($($default)?),
                        kind: <$type as $crate::config::walk::Shape>::kind(),
                        doc: $crate::config::section::doc_text(&[$($doc),+]),
                    } ),*],
                    open: None,
                })
            }

            fn read(value: &$crate::config::walk::Value<'_>, walk: &mut $crate::config::walk::Walk<'_>) -> Option<Self> {
                let table = walk.table(value)?;
                walk.names(table, &[$($crate::config::section::key_name(stringify!($key))),*], &[$($($later),*)?]);
                Some(Self {
                    $( $key: walk.$mode::<$type>(
                        table,
                        value.span(),
                        $crate::config::section::key_name(stringify!($key))
                        $(, $default)?
                    ), )*
                })
            }
        }
    };
}

/// The type of a key's field.
macro_rules! field {
    (default $type:ty) => { $crate::config::walk::Item<$type> };
    ($mode:ident $type:ty) => { $crate::config::walk::Slot<$type> };
}

macro_rules! required {
    (required) => {
        true
    };
    ($mode:ident) => {
        false
    };
}

macro_rules! default_text {
    () => {
        None
    };
    ($default:literal) => {
        Some($default)
    };
}

pub(crate) use {default_text, field, required, section};

/// A key as it is written; one that is a keyword of the language is declared as `r#type`.
pub(crate) fn key_name(ident: &'static str) -> &'static str {
    ident.strip_prefix("r#").unwrap_or(ident)
}

/// Lines of a documentation comment as one text.
pub(crate) fn doc_text(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}
