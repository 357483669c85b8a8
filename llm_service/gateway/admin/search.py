"""Searching providers by models that are in the catalogue and in no row."""

from llm_service import catalog, providers
from llm_service.domain.listing import And, Comparison, Filter, Not, Operator, Or, Search
from llm_service.gateway.model_catalogue import texts_of
from llm_service.gateway.paging import found_in


def with_built_in_models(tree: Filter) -> Filter:
    """The filter, its bare words also finding who has a built-in model with such a text."""
    match tree:
        case And(terms):
            return And(tuple(map(with_built_in_models, terms)))
        case Or(terms):
            return Or(tuple(map(with_built_in_models, terms)))
        case Not(term):
            return Not(with_built_in_models(term))
        case Search(text):
            having = (
                Comparison("kind", Operator.EQ, kind)
                for kind in providers.kinds()
                if any(found_in(text, texts_of(model)) for model in catalog.built_in(kind))
            )
            return Or((tree, *having))
    return tree
